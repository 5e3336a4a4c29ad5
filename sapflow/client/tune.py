"""`sapflow.tune`: a search for the parameters of a job, for scripts and notebooks."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sapflow.client import named_report, tuning
from sapflow.client.background import run_apart
from sapflow.client.importable import modules_folder
from sapflow.client.run import environment_of, spool_of
from sapflow.client.search_fields import Direction, Space, document_of
from sapflow.client.session import store_url
from sapflow.client.training_job import TrainingJob
from sapflow.monitoring.tuning_display import TuningDisplay
from sapflow.monitoring.tuning_displays import open_tuning_display
from sapflow.records.evaluations import of_held_out
from sapflow.runtimes.embedded.runtime import available_cores
from sapflow.spec import tuning_document
from sapflow.spec.tuning_job import TuningJob

if TYPE_CHECKING:
    from sapflow.client.tracking import Tracked
    from sapflow.monitoring.trackers.registry import Name


@dataclass(frozen=True)
class TuningResult:
    """What a search has found."""

    uid: str
    """The search's name in its store."""
    trial: int
    parameters: Mapping[str, Any]
    """Of the best trial, by path."""
    objective: float
    metrics: Mapping[str, float]
    """Of the best trial on the held-out samples, by name."""
    model: str
    """The URI of its model, a safetensors file."""
    outcome: Mapping[str, Any]
    """The whole record, with the ten best trials as `top`."""
    store: str
    """The store's URL."""

    def report(self, path: str | Path | None = None) -> str:
        """The report of the search, a page of HTML that needs no network; with `path` it is written there, too.

        Raises DataError if Plotly is not installed, if the search is not in its store any more, or if the file cannot
        be written; StoreError.
        """
        return named_report.report(self.uid, path, store=self.store)

    def export_to(self, to: "Name", place: str | Path) -> "Tracked":
        """Write the search with all its trials for an experiment tracker, as `sapflow.export_to` explains."""
        from sapflow.client import tracking

        return tracking.export_to(self.uid, to, place, store=self.store)


def tune(
    job: TrainingJob,
    space: Space,
    *,
    metric: str = "loss",
    direction: Direction | None = None,
    goal: float | None = None,
    trials: int = 20,
    parallel_trials: int | None = None,
    max_workers: int | None = None,
    search: str | Mapping[str, Any] = "TPE",
    prune: str | Mapping[str, Any] = "None",
    initial: Sequence[Mapping[str, Any]] | None = None,
    store: str | Path | None = None,
    max_instances: int | None = None,
    again: bool = False,
    progress: bool | None = None,
    **spec: Any,
) -> TuningResult:
    """Search for values of `space` with which the job is best, on this machine, and wait for it.

    `space` names fields by their path: `{"optimizer.learningRate": {"min": 1e-3, "max": 1, "log": True}, "workers":
    [1, 2, 4], "model.args.depth": range(2, 9)}`. A dict is a float where one of its bounds is, else an int; a dict
    with `float`, `int` or `categorical` is taken as in YAML. `direction` follows from a metric that has one. At most
    `max_workers` calls are made at once, by default twice as many as there are cores and enough for one trial. `spec`
    has further fields of a TuningJob, in camelCase.

    The same search in the same store goes on where it was interrupted; with `again` it begins anew. Raises SpecError
    with all problems, DataError, StoreError, and JobFailed where nothing was found.
    """
    if not isinstance(job, TrainingJob):
        raise TypeError(f"sapflow.tune takes a sapflow.TrainingJob, not a {type(job).__name__}")
    asked = None if store is None else str(store)
    with ExitStack() as stack:
        document, source = stack.enter_context(job.resolved(spool_of(job, asked)))
        found = tuning_document.parse(
            document_of(
                document,
                space,
                metric=metric,
                direction=direction,
                goal=goal,
                trials=trials,
                parallel_trials=parallel_trials,
                max_workers=max_workers or max(2 * available_cores(), job.spec.workers),
                search=search,
                prune=prune,
                initial=initial,
                spec=spec,
            )
        )
        url = store_url(found.template, asked)
        environ = environment_of(job, modules_folder(url))
        opened = stack.enter_context(tuning.open_tuning(found, environ, store=url))
        display = stack.enter_context(_display(found, progress, opened.uid))
        if again:
            opened.forget()
        manifest = tuning.prepare(
            opened,
            environ,
            display.stage,
            display.cut,
            source,
        )
        outcome = run_apart(tuning.search(opened, manifest, environ, display, max_instances=max_instances))
        return _result(opened, outcome)


def _display(job: TuningJob, progress: bool | None, title: str) -> TuningDisplay:
    """A table where standard error is a terminal, else lines if they are asked for, else nothing."""
    live = sys.stderr.isatty()
    quiet = progress is False or (not live and not progress)
    return open_tuning_display(job, sys.stderr, live=live, as_json=False, quiet=quiet, title=title)


def _result(opened: tuning.TuningSession, outcome: Mapping[str, Any]) -> TuningResult:
    return TuningResult(
        opened.uid,
        outcome["trial"],
        outcome["parameters"],
        outcome["objective"],
        of_held_out(outcome),
        outcome["uri"],
        outcome,
        opened.url,
    )
