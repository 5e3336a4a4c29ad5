"""`status.progress` of a TrainingJob: what kubectl shows of a running job, reported by its driver."""

import time
from collections.abc import Mapping
from typing import Any

from sapflow.monitoring.progress import Progress
from sapflow.planning.extent import Extent
from sapflow.quantities.memory import MIB, format_quantity
from sapflow.records.commits import Account, Commit, Forecast, Plan
from sapflow.records.evaluations import held_out
from sapflow.records.memory_search import SizeSearch
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.observer import Observer, PreparedSoFar
from sapflow_operator.driver_pod.reports import (
    PreparationReport,
    Reporter,
    StatusApi,
    can_be_said,
    rounded,
    shown,
)


class ProgressReporter(Reporter, Observer):
    """Reports what a driver sees, at most once a second and once at the end. Use as an async context manager."""

    def __init__(self, job: TrainingJob, api: StatusApi, *, searches: bool = False) -> None:
        """`searches`: for the workers' best size. Then the size reported is the one wanted, and none before the
        store has told of it: the operator gives what is reported."""
        super().__init__(api)
        self._job, self._searches = job, searches
        self._preparation = PreparationReport(self._changed)
        self._search: SizeSearch | None = None
        self._progress: Progress | None = None
        self._account = Account()
        self._plan: Plan | None = None
        self._forecast: Forecast | None = None
        self._checkpoint: int | None = None
        self._outcome: dict[str, Any] | None = None
        self._stopped: dict[str, Any] | None = None

    def begin(self, extent: Extent) -> None:
        """Take in the length of the job, once the data is cut."""
        self._progress = Progress(extent)
        self._preparation.ends()

    def prepared(self, position: PreparedSoFar) -> None:
        self._account = position.account
        self._preparation.prepared(position)

    def preparation_forecast(self, said: Mapping[str, Any]) -> None:
        self._preparation.preparation_forecast(said)

    def resumed(self, commit: Commit) -> None:
        self.committed(commit)

    def planned(self, plan: Plan, forecast: Forecast | None) -> None:
        self._plan = plan
        if forecast is not None and self._forecast is None:
            self._forecast = forecast
        self._changed.set()

    def committed(self, commit: Commit) -> None:
        self._account = commit.account
        self._search = commit.measured.search if self._searches else None
        if self._progress is not None:
            self._progress.committed(commit, time.monotonic())
        self._changed.set()

    def evaluated(self, version: int, metrics: Mapping[str, float]) -> None:
        if self._progress is not None:
            self._progress.take_evaluation(version, metrics)
        self._changed.set()

    def checkpointed(self, version: int) -> None:
        self._checkpoint = version
        self._changed.set()

    def finished(self, outcome: dict[str, Any]) -> None:
        self._outcome = outcome
        self._account = Account.model_validate(outcome["account"])
        self._checkpoint = outcome["version"]
        self._changed.set()

    def stopped(self, version: int, uri: str) -> None:
        """The job is suspended, and its model as it stands is there."""
        self._stopped = {"version": version, "uri": uri}
        self._changed.set()

    def fields(self) -> dict[str, Any]:
        """The current `status.progress`, without fields that are not known."""
        account = self._account
        found: dict[str, Any] = {
            "memory": self._memory(),
            "structure": None if self._plan is None else list(self._plan.structure),
            "shards": None if self._plan is None else self._plan.shards,
            "costUSD": shown({"": account.cost_usd})[""],
            "invocations": account.invocations,
            "coldStarts": account.cold_starts,
            "retries": account.retries,
            "hedges": account.hedges,
            "checkpoint": self._checkpoint,
            "preparation": self._preparation.fields(),
            "stopped": self._stopped,
            "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        if self._forecast is not None:
            found |= {
                "forecastSeconds": rounded(self._forecast.seconds, 3),
                "forecastCostUSD": round(self._forecast.dollars, 9),
            }
        if self._progress is not None:
            found |= _of_training(self._progress)
        if self._outcome is not None:
            found |= _of_outcome(self._outcome)
        return {name: value for name, value in found.items() if can_be_said(value)}

    def _memory(self) -> dict[str, Any] | None:
        """The memory limits of functions, and the trials of the search for the workers' size."""
        search = self._search
        sizes = dict[str, Any](self._job.memory_sizes.items())
        if not self._searches:
            return sizes
        if search is None:
            return None
        trials = [
            {
                "worker": format_quantity(each.size * MIB),
                "step": each.step,
                "secondsPerStep": rounded(each.seconds, 6),
                "costUSD": rounded(each.cost_usd, 12),
            }
            for each in search.trials
        ]
        found = {**sizes, "worker": search.quantity, "searching": not search.done}
        return {**found, "trials": trials}


def _of_training(progress: Progress) -> dict[str, Any]:
    extent, commit = progress.extent, progress.commit
    found: dict[str, Any] = {
        "step": progress.done,
        "steps": extent.total,
        "percent": round(100 * progress.done / max(extent.total, 1), 1),
        "secondsPerStep": rounded(progress.seconds_per_unit, 6),
        "estimatedSecondsLeft": rounded(progress.seconds_left, 1),
    }
    if commit is not None:
        measured = commit.measured
        figures = shown({"loss": measured.loss, "accuracy": measured.accuracy})
        found |= {"epoch": commit.cursor.epoch, **figures, "skippedSteps": commit.skips}
    if progress.evaluated is not None:
        found |= shown(held_out(progress.evaluated[1]))
    return found


def _of_outcome(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The final progress. The result may be of an earlier version than the last step."""
    figures = ("loss", "validationLoss", "validationAccuracy", "validationMetrics")
    found = shown({name: outcome[name] for name in figures if name in outcome})
    if "forecast" in outcome:
        said = outcome["forecast"]
        found |= {
            "forecastSeconds": rounded(said["seconds"], 3),
            "forecastCostUSD": round(said["costUSD"], 9),
            "forecastSecondsError": rounded(said["secondsError"], 4),
            "forecastCostError": rounded(said["costError"], 4),
        }
    return {**found, "percent": 100.0, "estimatedSecondsLeft": 0.0}
