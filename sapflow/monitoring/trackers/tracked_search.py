"""A search, as it is read from its store for a tracker: its log, and its trials as jobs."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.errors import DataError, SpecError
from sapflow.monitoring.trackers import points
from sapflow.monitoring.trackers.tracked_job import MODEL, State, TrackedJob, begin_of, begun_at
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.spec.training_job import TrainingJob
from sapflow.spec.tuning_document import training_job
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning import result
from sapflow.tuning.actions import Finished, Report
from sapflow.tuning.entries import Entry, Warm
from sapflow.tuning.log import Log
from sapflow.tuning.settings import Objective, Settings
from sapflow.tuning.state import State as SearchState
from sapflow.tuning.trial import Trial

_STATES: Mapping[str, State] = {"Finished": "Succeeded", "Failed": "Failed", "Stopped": "Stopped"}


@dataclass(frozen=True)
class TrackedSearch:
    """What a tracker is told about a search. Trials are read when they are asked for."""

    uid: str
    name: str
    job: TuningJob
    store: Store
    started: float
    """When its first trial began, in seconds since 1970; 0 before that."""
    state: SearchState
    """What its log says; the trials are in it."""
    reports: Mapping[int, Sequence[Report | Finished]]
    """What each trial has reported, in order, by its number."""
    documents: Mapping[str, Any]
    """JSON values by the name of their file: spec, outcome."""
    model: str | None
    """The key of the best trial's model in the store, if it has been written."""

    @property
    def prefix(self) -> str:
        return keys.job(self.uid)

    @property
    def objectives(self) -> Sequence[Objective]:
        return self.state.settings.objectives

    @property
    def over(self) -> bool:
        """Whether it has ended; it goes on where a limit is raised."""
        return self.state.over is not None

    @property
    def trials(self) -> Sequence[Trial]:
        return self.state.trials

    @property
    def counts(self) -> dict[str, int]:
        """How many trials there are in each phase, by its name in lower case."""
        return dict(Counter(each.phase.lower() for each in self.trials))

    @property
    def best(self) -> Trial | None:
        """The trial whose version is the best that is kept."""
        order = result.ranked(self.state.settings, self.trials)
        return order[0] if order else None

    @property
    def parameters(self) -> dict[str, bool | int | float | str]:
        """The template's fields, without those that are searched, and how is searched."""
        spec = self.job.spec
        searched = {points.short_path(each.path) for each in spec.parameters}
        found = points.parameters_of(self.job.template)
        return {
            **{path: value for path, value in found.items() if path not in searched},
            **points.flat(spec.search.model_dump(by_alias=True, mode="json", exclude_none=True), "search"),
            **points.flat(spec.prune.model_dump(by_alias=True, mode="json", exclude_none=True), "prune"),
            "objective": ", ".join(f"{each.metric}, {each.direction}" for each in spec.objectives),
        }

    def trial_uid(self, number: int) -> str:
        return keys.uid_of(keys.trial(self.prefix, number))

    async def trial(self, number: int) -> TrackedJob:
        """A trial as a job. Raises DataError, StoreError."""
        trial = self.trials[number]
        records = Records(self.store, keys.trial(self.prefix, number))
        first, last = await begin_of(records), await records.last()
        started = await begun_at(records) if first is not None else self.started
        notes = {"phase": trial.phase, "costUSD": f"{trial.dollars:.9g}"}
        if trial.origin is not None:
            notes["begins at"] = f"version {trial.origin.version} of trial {trial.origin.trial}"
        if trial.message:
            notes["message"] = trial.message
        if trial.phase in ("Finished", "Paused") and last is not None:
            notes["version"] = str(trial.version)
        return TrackedJob(
            uid=self.trial_uid(number),
            name=f"trial {number}",
            job=self._job_of(trial),
            records=records,
            parameters={
                points.short_path(path): points.plain(value) for path, value in trial.parameters.items()
            },
            state=_STATES.get(trial.phase, "Unfinished"),
            started=started,
            first=first,
            last=last,
            reason=trial.reason,
            notes=notes,
            evaluated={each.version for each in self.reports.get(number, ())},
        )

    def _job_of(self, trial: Trial) -> TrainingJob:
        try:
            return training_job(self.job, trial.parameters, None)
        except SpecError:
            # Such a trial fails before its first version, so nothing of its job is asked for.
            return self.job.template


async def read_search(uid: str, job: TuningJob, store: Store) -> TrackedSearch:
    """A search in its store. Raises DataError if it has no trial yet, CorruptObject, StoreError."""
    prefix = keys.job(uid)
    records = Records(store, prefix)
    state, reports = SearchState(Settings.of(job)), dict[int, list[Report | Finished]]()
    for entry in await Log(store, prefix).read():
        _take(entry, state, reports)
    if not state.trials:
        raise DataError(f"search {uid} has no trial yet: there is nothing to export")
    outcome, started = await asyncio.gather(
        records.read(keys.result(prefix, "outcome.json")),
        begun_at(Records(store, keys.trial(prefix, 0))),
    )
    documents = {"spec": job.to_json(), "outcome": outcome}
    return TrackedSearch(
        uid=uid,
        name=job.metadata.name,
        job=job,
        store=store,
        started=started,
        state=state,
        reports=reports,
        documents={name: value for name, value in documents.items() if value is not None},
        model=keys.result(prefix, MODEL) if outcome is not None and "uri" in outcome else None,
    )


def _take(entry: Entry, state: SearchState, reports: dict[int, list[Report | Finished]]) -> None:
    if isinstance(entry, Warm):
        return
    if isinstance(entry, Report | Finished):
        reports.setdefault(entry.trial, []).append(entry)
    state.apply(entry)
