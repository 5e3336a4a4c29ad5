"""The facts that a report is made from: a job's commits and evaluations, read from its store."""

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.data.blocks import load_manifest
from sapflow.data.manifest import Manifest, manifest_key
from sapflow.driver.sweep import checkpoint_versions
from sapflow.driver.windows import batched
from sapflow.errors import DataError, ObjectMissing
from sapflow.monitoring.report.history import History, Step
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning.extent import Extent
from sapflow.quantities.structure import Structure
from sapflow.records.commits import Commit, LevelUsage, Plan, Records
from sapflow.records.evaluations import metrics_of
from sapflow.records.typical import typical
from sapflow.spec.resolved import ResolvedJob, area_of
from sapflow.spec.training_job import TrainingJob

_AT_ONCE = 32
"""Number of versions that are read from the store at once."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """The cost model's prediction for a warm step: seconds and dollars, and seconds by level, workers first."""

    seconds: float
    dollars: float
    levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A job, as recorded in its store."""

    uid: str
    job: TrainingJob
    state: str
    history: History
    plan: Plan
    outcome: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    predicted: Predicted | None = None
    not_predicted: str = ""
    """Why there is no prediction."""
    manifest: Manifest | None = None
    """That of its data; None if it is not in the store any more."""

    @property
    def structure(self) -> Structure:
        return self.plan.structure

    @property
    def last(self) -> Commit:
        return self.history.last

    def level_name(self, level: int) -> str:
        """The name of a level of the tree; workers are level 0."""
        if level == 0:
            return "workers"
        return "root" if level == len(self.structure) - 1 else f"mergers, level {level}"

    @property
    def warm(self) -> Sequence[Step]:
        """Steps of the last plan in which no function had to be started; of many, some that lie evenly among them."""
        return self.history.warm

    @property
    def seconds_per_step(self) -> float | None:
        """The median of the seconds between two commits, over the warm steps."""
        return statistics.median(each.seconds for each in self.warm) if self.warm else None

    @property
    def dollars_per_step(self) -> float | None:
        """The median cost of a step, over the warm steps."""
        return statistics.median(each.dollars for each in self.warm) if self.warm else None

    @property
    def levels(self) -> list[LevelUsage]:
        """A typical step by level, workers first: the median of each figure over the warm steps."""
        return typical([each.measured.levels for each in self.warm if each.measured.levels])


async def gather(uid: str, job: TrainingJob, store: Store, version: int | None = None) -> Facts:
    """Read everything that a report shows, with `version` of the job as it was then. Versions are read a few at a time,
    and what stays of them in memory does not grow with their number.

    Raises DataError if there is no such version, and StoreError.
    """
    prefix = keys.job(uid)
    records = Records(store, prefix)
    newest = last = await records.last()
    if newest is None or last is None:
        raise DataError(f"nothing of job {uid} is trained yet: there is nothing to report")
    if version is not None and version != last.version:
        last = await records.commit(version)
        if last is None:
            raise DataError(f"job {uid} has no version {version}: its last is {newest.version}")
    outcome, failure, plan = await asyncio.gather(
        records.read(keys.result(prefix, "outcome.json")),
        records.read(keys.failure(prefix, last.version)),
        records.plan(last.plan),
    )
    if outcome is not None and version is not None and version < outcome["version"]:
        outcome = None
    state = "Succeeded" if outcome is not None else "Failed" if failure is not None else "Unfinished"
    chosen = None if outcome is None else int(outcome["version"])
    manifest = await _manifest(records, job)
    history = await _read(records, job, manifest, newest, last, chosen)
    return Facts(
        uid=uid,
        job=job,
        state=state,
        history=history,
        plan=plan,
        outcome=outcome,
        failure=failure if outcome is None else None,
        manifest=manifest,
    )


async def _read(
    records: Records,
    job: TrainingJob,
    manifest: Manifest | None,
    newest: Commit,
    last: Commit,
    chosen: int | None,
) -> History:
    """The history of the versions up to `last`."""
    prefix = records.prefix
    due = _evaluated(job, manifest, newest, last)
    extra = {last.version, *([] if chosen is None else [chosen])}
    named = {*checkpoint_versions(job.spec.checkpoint, newest.version), last.version}

    async def read(number: int) -> tuple[Commit, Any | None, Any | None]:
        commit, evaluation, checkpoint = await asyncio.gather(
            records.commit(number),
            _read_if(number in due or number in extra, records, keys.evaluation(prefix, number)),
            _read_if(number in named, records, keys.checkpoint(prefix, number)),
        )
        if commit is None:
            missing = keys.commit(prefix, number)
            raise DataError(
                f"{missing} is missing, although later versions are there: the store is incomplete"
            )
        return commit, evaluation, checkpoint

    first = await records.commit(0)
    begins = 0 if first is None else first.first_version
    history = History(last.version + 1 - begins, last.plan, evaluated=len(due) + len(extra), chosen=chosen)
    for numbers in batched(range(begins, last.version + 1), _AT_ONCE):
        for commit, evaluation, checkpoint in await asyncio.gather(*map(read, numbers)):
            metrics = None if evaluation is None else metrics_of(evaluation)
            history.take(commit, metrics, is_checkpoint=checkpoint is not None)
    return history


async def _read_if(wanted: bool, records: Records, key: str) -> Any | None:
    return await records.read(key) if wanted else None


async def _manifest(records: Records, job: TrainingJob) -> Manifest | None:
    """The manifest of the job's data; None if it is not in the store any more."""
    area = area_of(await records.read(keys.spec(records.prefix)))
    try:
        key = manifest_key(ResolvedJob(job, records.prefix, area=area).data_prefix)
        return await asyncio.to_thread(load_manifest, records.store, key)
    except ObjectMissing:
        return None


def _evaluated(job: TrainingJob, manifest: Manifest | None, newest: Commit, last: Commit) -> range:
    """The versions that may have been evaluated, the last one and the result apart."""
    every = range(1, last.version + 1)
    if manifest is None:
        return every
    if not manifest.validation_samples:
        return range(0)
    if newest.lengths is not None and job.spec.evaluation.every_steps is None:
        # Epochs had another number of steps before the number of workers changed.
        return every
    between = Extent.of(job, manifest.train_samples).steps_between_evaluations(job)
    return range(between, last.version + 1, between)
