"""The facts that a report is made from: a job's commits and evaluations, read from its store."""

import asyncio
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.errors import DataError
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.quantities.structure import Structure
from sapflow.records.commits import Account, Commit, LevelUsage, Plan, Records
from sapflow.records.evaluations import metrics_of
from sapflow.records.typical import typical
from sapflow.spec.training_job import TrainingJob

_AT_ONCE = 32
"""Number of concurrent reads of the store."""
WARM_UP_STEPS = 3
"""Predictions are not compared with this many steps at the beginning, unless there are no others."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A version's metrics on the held-out samples."""

    version: int
    metrics: Mapping[str, float]
    """By name, the loss among them; NaN where one is not finite."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """The cost model's prediction for a warm step: seconds and dollars, and seconds by level, workers first."""

    seconds: float
    dollars: float
    levels: tuple[float, ...] = ()


@dataclass(frozen=True)
class Facts:
    """A job, as recorded in its store. `commits` are versions 1, 2, …; `start` is version 0."""

    uid: str
    job: TrainingJob
    state: str
    start: Commit
    commits: Sequence[Commit]
    plan: Plan
    evaluations: Sequence[Evaluation]
    checkpoints: Sequence[int] = ()
    outcome: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    predicted: Predicted | None = None
    not_predicted: str = ""
    """Why there is no prediction."""

    @property
    def structure(self) -> Structure:
        return self.plan.structure

    @property
    def last(self) -> Commit:
        return self.commits[-1] if self.commits else self.start

    @property
    def versions(self) -> Sequence[Commit]:
        """All commits, from version 0 on."""
        return (self.start, *self.commits)

    @property
    def result(self) -> Commit:
        """The version that was chosen as the result, or the last one if none is chosen yet."""
        return self.versions[: self.outcome["version"] + 1][-1] if self.outcome is not None else self.last

    def level_name(self, level: int) -> str:
        """The name of a level of the tree; workers are level 0."""
        if level == 0:
            return "workers"
        return "root" if level == len(self.structure) - 1 else f"mergers, level {level}"

    @property
    def warm(self) -> Sequence[Commit]:
        """Commits of the last plan's steps in which no function had to be started, without the warm-up if there are
        enough."""
        pairs = list(zip([self.start, *self.commits], self.commits, strict=False))[WARM_UP_STEPS:]
        warm = [
            new
            for old, new in pairs
            if new.account.cold_starts == old.account.cold_starts and old.plan == self.last.plan
        ]
        return warm or self.commits

    @property
    def seconds_per_step(self) -> float | None:
        """The median of the seconds between two commits, over the warm steps."""
        return self._per_step(lambda account: account.seconds)

    @property
    def dollars_per_step(self) -> float | None:
        """The median cost of a step, over the warm steps."""
        return self._per_step(lambda account: account.cost_usd)

    def _per_step(self, figure: Callable[[Account], float]) -> float | None:
        ends = {commit.version: figure(commit.account) for commit in (self.start, *self.commits)}
        gaps = [ends[each.version] - ends[each.version - 1] for each in self.warm]
        return statistics.median(gaps) if gaps else None

    @property
    def levels(self) -> list[LevelUsage]:
        """A typical step by level, workers first: the median of each figure over the warm steps."""
        return typical([each.measured.levels for each in self.warm if each.measured.levels])


async def gather(uid: str, job: TrainingJob, store: Store, version: int | None = None) -> Facts:
    """Read everything that a report shows, with `version` of the job as it was then.

    Raises DataError if there is no such version, and StoreError.
    """
    records = Records(store, keys.job(uid))
    last = await records.last()
    if last is None:
        raise DataError(f"nothing of job {uid} is trained yet: there is nothing to report")
    if version is not None and version != last.version:
        earlier = await records.commit(version)
        if earlier is None:
            raise DataError(f"job {uid} has no version {version}: its last is {last.version}")
        last = earlier
    limit = asyncio.Semaphore(_AT_ONCE)

    async def read(key: str) -> Any | None:
        async with limit:
            return await records.read(key)

    async def commit(version: int) -> Commit:
        async with limit:
            found = await records.commit(version)
        if found is None:
            raise DataError(f"commit {version} of job {uid} is missing; its store is incomplete")
        return found

    versions = range(last.version + 1)
    every = job.spec.checkpoint.every_steps
    kept = sorted({*(versions[::every] if every else ()), last.version})
    commits, evaluations, checkpoints, outcome, failure, plan = await asyncio.gather(
        asyncio.gather(*map(commit, versions)),
        asyncio.gather(*(read(keys.evaluation(keys.job(uid), version)) for version in versions)),
        asyncio.gather(*(read(keys.checkpoint(keys.job(uid), version)) for version in kept)),
        read(keys.result(keys.job(uid), "outcome.json")),
        read(keys.failure(keys.job(uid), last.version)),
        records.plan(last.plan),
    )
    if outcome is not None and version is not None and version < outcome["version"]:
        outcome = None
    state = "Succeeded" if outcome is not None else "Failed" if failure is not None else "Unfinished"
    return Facts(
        uid=uid,
        job=job,
        state=state,
        start=commits[0],
        commits=commits[1:],
        plan=plan,
        evaluations=[
            Evaluation(version, metrics_of(body))
            for version, body in enumerate(evaluations)
            if body is not None
        ],
        checkpoints=[version for version, body in zip(kept, checkpoints, strict=True) if body is not None],
        outcome=outcome,
        failure=failure if outcome is None else None,
    )
