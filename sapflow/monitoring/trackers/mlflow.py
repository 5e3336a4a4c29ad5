"""Jobs and searches as runs of MLflow: a job is a run, a search is one with a run below it for each trial.

Runs are found again by their tags. The tag of the last version that is written comes with its figures, and MLflow keeps
a figure of the same time, step and value once, so that no interruption makes one appear twice.
"""

import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import ClassVar

from sapflow.monitoring.trackers import points
from sapflow.monitoring.trackers.mlflow_runs import (
    DATABASE,
    EXTRA,
    FIGURES,
    PARENT,
    UID,
    MlflowRuns,
    Run,
    milliseconds,
    text_of,
)
from sapflow.monitoring.trackers.points import Point
from sapflow.monitoring.trackers.tracked_job import MODEL, TrackedJob, copy_object
from sapflow.monitoring.trackers.tracked_search import TrackedSearch
from sapflow.monitoring.trackers.tracker import Tracker, Written
from sapflow.objects.stores.protocol import Store
from sapflow.text import to_json

_VERSION, _COMMIT, _STATE, _TRIALS = (f"sapflow.{name}" for name in ("version", "commit", "state", "trials"))
_STATUS = {"Succeeded": "FINISHED", "Failed": "FAILED", "Stopped": "KILLED", "Unfinished": "RUNNING"}


class MlflowTracker(Tracker):
    """A tracking server, by its URL, or a folder with a database and the artifacts."""

    extra: ClassVar[str] = EXTRA

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self._runs = MlflowRuns(place)

    @property
    def opened_by(self) -> list[str]:
        if "://" in self.place:
            return []
        return ["mlflow", "ui", "--backend-store-uri", f"sqlite:///{Path(self.place) / DATABASE}"]

    async def write_job(self, job: TrackedJob) -> Written:
        with self._runs.told():
            experiment = self._runs.experiment(job.job.metadata.name)
            known = self._runs.tagged(experiment, UID, job.uid)
            return Written(await self._write(experiment, job, known.get(job.uid), {}), None)

    async def write_search(self, search: TrackedSearch) -> Written:
        with self._runs.told():
            experiment = self._runs.experiment(search.name)
            parent = self._runs.tagged(experiment, UID, search.uid).get(search.uid)
            known = self._runs.tagged(experiment, PARENT, parent.id) if parent else {}
            if parent is not None and not await self._continues(search, known):
                for run in (*known.values(), parent):
                    self._runs.delete(run)
                parent, known = None, {}
            parent = self._runs.begin(
                experiment,
                parent,
                name=search.name,
                started=search.started or time.time(),
                tags={UID: search.uid},
                parameters=search.parameters,
                spec=search.documents["spec"],
            )
            versions, ended = 0, parent.started
            for trial in search.trials:
                job = await search.trial(trial.number)
                versions += await self._write(experiment, job, known.get(job.uid), {PARENT: parent.id})
                ended = max(ended, milliseconds(job.start + trial.seconds))
            self._write_search(parent, search, ended)
        return Written(versions, len(search.trials))

    @staticmethod
    async def _continues(search: TrackedSearch, known: Mapping[str, Run]) -> bool:
        """Whether the trials that are there are those of the search; it may have been begun again with other ones."""
        if len(known) > len(search.trials):
            return False
        for trial in search.trials:
            found = known.get(search.trial_uid(trial.number))
            if found is not None and not await _is_of(found, await search.trial(trial.number)):
                return False
        return True

    async def _write(
        self, experiment: str, job: TrackedJob, known: Run | None, tags: Mapping[str, str]
    ) -> int:
        """Write what a job's run lacks; how many versions that were. `tags` are those of a trial."""
        if known is not None and not await _is_of(known, job):
            self._runs.delete(known)
            known = None
        version = -1 if known is None else _version(known)
        if known is not None and (version, known.tags.get(_STATE)) == (job.version, job.state):
            return 0
        run = self._runs.begin(
            experiment,
            known,
            name=job.name,
            started=job.start,
            tags={UID: job.uid, **tags},
            parameters=job.parameters,
            spec=job.documents.get("spec"),
        )
        count = 0
        async for some in _batches(job.points(version)):
            at = some[-1].version
            figures = [
                (name, value, run.started + milliseconds(each.seconds), each.version)
                for each in some
                for name, value in each.values.items()
            ]
            self._runs.figures(run, figures, {_VERSION: str(at), _COMMIT: await job.digest(at) or ""})
            count += len(some)
        self._end(run, job)
        return count

    def _end(self, run: Run, job: TrackedJob) -> None:
        """Write what a job has come to, and then its state."""
        for name, value in job.documents.items():
            if name != "spec":
                self._runs.text(run, f"{name}.json", to_json(value, indent=1))
        if job.model is not None:
            self._add_model(run, job.records.store, job.model)
        notes = {f"sapflow.{name.replace(' ', '_')}": value for name, value in job.notes.items()}
        if job.reason:
            notes["sapflow.reason"] = job.reason
        if job.last is not None:
            notes |= {_VERSION: str(job.version), _COMMIT: job.last.digest}
        self._runs.end(run, _STATUS[job.state], run.started + milliseconds(job.seconds))
        self._runs.tag(run, {**notes, _STATE: job.state})

    def _write_search(self, parent: Run, search: TrackedSearch, ended: int) -> None:
        """Write what a search has come to: the objectives of its trials in their order, as far as they have ended.
        `ended` is when its last trial was at work, in milliseconds since 1970."""
        count = int(parent.tags.get(_TRIALS, 0))
        names = [points.objective_name(each.metric) for each in search.objectives]
        figures = []
        while count < len(search.trials) and search.trials[count].ended:
            trial = search.trials[count]
            figures += [
                (name, value, parent.started + trial.number, trial.number)
                for name, value in zip(names, trial.values, strict=False)
            ]
            count += 1
        tags, state = _of_search(search), "Unfinished"
        if search.over:
            state = "Succeeded" if "outcome" in search.documents else "Failed"
        tags |= {_TRIALS: str(count)}
        if all(parent.tags.get(name) == value for name, value in {**tags, _STATE: state}.items()):
            return
        self._runs.figures(parent, figures, tags)
        if "outcome" in search.documents:
            self._runs.text(parent, "outcome.json", to_json(search.documents["outcome"], indent=1))
        if search.model is not None:
            self._add_model(parent, search.store, search.model)
        self._runs.end(parent, _STATUS[state], ended)
        self._runs.tag(parent, {**tags, _STATE: state})

    def _add_model(self, run: Run, store: Store, key: str) -> None:
        with tempfile.TemporaryDirectory(prefix="sapflow-") as folder:
            self._runs.artifact(run, copy_object(store, key, Path(folder) / MODEL))


def _version(run: Run) -> int:
    return int(run.tags.get(_VERSION, -1))


async def _is_of(run: Run, job: TrackedJob) -> bool:
    """Whether a run is a beginning of a job; that may have been begun again, with another result."""
    version = _version(run)
    return version < 0 or await job.digest(version) == run.tags.get(_COMMIT)


def _of_search(search: TrackedSearch) -> dict[str, str]:
    """What a search has come to, as tags."""
    tags = {f"sapflow.trials.{phase}": str(number) for phase, number in search.counts.items()}
    tags |= {"sapflow.costUSD": f"{search.state.used:.9g}"}
    if search.state.over is not None:
        tags["sapflow.endedBy"] = search.state.over.reason
    if (best := search.best) is not None:
        tags["sapflow.best.trial"] = str(best.number)
        for path, value in best.parameters.items():
            tags[f"sapflow.best.{points.short_path(path)}"] = text_of(points.plain(value))
    return tags


async def _batches(found: AsyncIterator[Point]) -> AsyncIterator[list[Point]]:
    """Points in lists that have no more figures than a request may have."""
    some: list[Point] = []
    figures = 0
    async for each in found:
        if some and figures + len(each.values) > FIGURES:
            yield some
            some, figures = [], 0
        some.append(each)
        figures += len(each.values)
    if some:
        yield some
