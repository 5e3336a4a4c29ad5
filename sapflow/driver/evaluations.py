"""Evaluations: functions evaluate versions in the background, and the results are judged in the order of versions."""

import asyncio
from typing import Any

from sapflow.driver.judgement import Choice, Judgement
from sapflow.driver.keeper import Keeper
from sapflow.driver.windows import batched
from sapflow.errors import SapflowError
from sapflow.messages.replies import EvaluateReply
from sapflow.messages.requests import EvaluateRequest
from sapflow.objects import keys
from sapflow.planning.extent import Extent
from sapflow.records.commits import Commit
from sapflow.records.evaluations import metrics_of, record_of
from sapflow.records.judged import Judged
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.context import Context
from sapflow.tasks.task import values_of

_WHO = "evaluation"
_AT_ONCE = 64
"""Records that are read at once when an earlier driver's evaluations are taken over."""


class Evaluations:
    """Evaluates each due version once, and hands versions to the judgement in their order.

    A version is held whole from its commit until it is judged, and on as long as it may be the result.
    """

    def __init__(self, context: Context, keeper: Keeper) -> None:
        self._context, self._keeper = context, keeper
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._judgement = Judgement(context.job.spec)
        self.metrics: dict[int, dict[str, float]] = {}
        """By name, of versions that are not judged yet, of the newest judged one, and of those that may be the result.
        All others are in the store: a job may have as many evaluations as steps."""
        self._unsettled: list[int] = []
        self._commits: dict[int, Commit] = {}

    @property
    def decided(self) -> bool:
        """Whether the result is certain before the last step."""
        return self._judgement.decided

    @property
    def judged(self) -> Judged | None:
        """How far versions are judged, for commits."""
        return self._judgement.state

    @property
    def reached(self) -> bool:
        """Whether a version meets the target."""
        return self._judgement.reached is not None

    def choice(self, last: Commit) -> Choice:
        """The result's version, and why it is, where `last` is the last commit."""
        return self._judgement.choice(last.version)

    def chosen(self, last: Commit) -> Commit:
        """The commit that is the result."""
        version = self.choice(last).version
        return last if version == last.version else self._commits[version]

    @property
    def possible(self) -> bool:
        return self._context.manifest.validation_samples > 0

    def due(self, version: int, *, final: bool = False) -> bool:
        """Whether a version is evaluated: every `everySteps` steps (by default once an epoch), and at the end."""
        if not self.possible or version == 0:
            return False
        return final or version % self._steps_between(self._context.job) == 0

    async def _was_due(self, commit: Commit) -> bool:
        """Whether a version was due with the workers that made it. If not, its objects may be gone."""
        plan = await self._context.records.plan(commit.plan)
        return commit.version % self._steps_between(self._context.job.with_workers(plan.workers)) == 0

    def _steps_between(self, job: TrainingJob) -> int:
        return Extent.of(job, self._context.samples).steps_between_evaluations(job)

    def start(self, commit: Commit) -> None:
        """Evaluate a version in the background, unless that is done or can change nothing any more."""
        version = commit.version
        if self.decided or version in self._commits or version in self.metrics:
            return
        if version <= self._judgement.through:
            return
        self._enqueue(commit)
        self._tasks[commit.version] = asyncio.create_task(self._evaluate(commit))

    def _enqueue(self, commit: Commit) -> None:
        self._hold(commit)
        self._unsettled.append(commit.version)
        self._unsettled.sort()

    def _hold(self, commit: Commit) -> None:
        self._keeper.hold(commit, _WHO, with_optimizer=True)
        self._commits[commit.version] = commit

    def check(self) -> None:
        """Raise what a background evaluation failed with, if its outcome still matters."""
        for version, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[version]
                error = task.exception()
                if error is not None and not self.decided:
                    raise error

    async def recover(self, last: Commit) -> None:
        """Go on from what the last commit says of an earlier driver's judgement: read the evaluations after that, and
        start those that were not made."""
        judgement = self._judgement
        if last.judged is not None:
            judgement.restore(last.judged)
            record = await self._record(judgement.through)
            if record is not None:
                self._take_in(judgement.through, record)
        due = [version for version in range(judgement.through + 1, last.version + 1) if self.due(version)]
        found: dict[int, dict[str, Any] | None] = {}
        for some in batched(due, _AT_ONCE):
            for version, record in zip(some, await asyncio.gather(*map(self._record, some)), strict=True):
                if record is None or self.decided or found:
                    found[version] = record
                    continue
                self._take_in(version, record)
                judgement.judge(version, self.metrics[version])
            self._forget_the_judged()
        for version in sorted(self._judgement.candidates):
            commit = await self._context.records.commit(version)
            if commit is not None:
                self._hold(commit)
        for version, record in () if self.decided else found.items():
            commit = await self._context.records.commit(version)
            if commit is None or (record is None and not await self._was_due(commit)):
                continue
            if record is None:
                self.start(commit)
            else:
                self._enqueue(commit)
                self._take_in(version, record)

    async def loss_of(self, version: int) -> float | None:
        """The validation loss of a due version; waits for it. None: the result is decided, and no step follows."""
        if version <= self._judgement.through and not self.decided:
            return (await self.metrics_of(version)).get("loss")
        while version not in self.metrics and not self.decided:
            await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
            self.check()
        return self.metrics[version]["loss"] if version in self.metrics else None

    async def metrics_of(self, version: int) -> dict[str, float]:
        """The metrics of a version; none if it was not evaluated."""
        if version not in self.metrics:
            record = await self._record(version)
            return {} if record is None else metrics_of(record)
        return self.metrics[version]

    async def measure(self, commit: Commit) -> dict[str, float]:
        """The metrics of a version that need not be due. One that is not is evaluated and recorded, yet not judged: it
        has no say in which version is the result. None where there are no held-out samples."""
        version = commit.version
        if not self.possible or version == 0:
            return {}
        if version not in self.metrics and await self._record(version) is None:
            await self._compute(commit)
        return await self.metrics_of(version)

    async def settle(self) -> None:
        """Wait for those evaluations under way that may change the result."""
        try:
            while self._tasks and not self.decided:
                await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
                self.check()
        finally:
            await self.close()

    def release_all_but(self, chosen: Commit) -> None:
        """Release all other versions, because the result is written."""
        self._keeper.release_all_but({chosen.version}, _WHO)

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def _record(self, version: int) -> dict[str, Any] | None:
        return await self._context.records.read(keys.evaluation(self._context.prefix, version))

    async def _evaluate(self, commit: Commit) -> None:
        record = await self._record(commit.version)
        if record is None:
            try:
                record = await self._compute(commit)
            except SapflowError:
                # Another driver may have evaluated the version and then removed it.
                record = await self._record(commit.version)
                if record is None:
                    raise
        self._take_in(commit.version, record)
        self._settle_in_order()

    async def _compute(self, commit: Commit) -> dict[str, Any]:
        context, version = self._context, commit.version
        request = EvaluateRequest(
            job=context.uid,
            version=version,
            seconds_left=1,
            spec=context.spec_document,
            manifest=context.manifest_document,
            code=context.code,
            params=commit.params,
            sizes=commit.sizes,
        )
        reply = await context.caller.call("worker", request, EvaluateReply)
        sums = {name: float.fromhex(text) for name, text in reply.sums.items()}
        measures = context.task.measures(context.job.spec, reply.samples)
        record = record_of(version, reply.samples, values_of(measures, sums, reply.samples))
        if not await context.records.write(keys.evaluation(context.prefix, version), record, durable=True):
            record = await self._record(version) or record
        return record

    def _take_in(self, version: int, record: dict[str, Any]) -> None:
        self.metrics[version] = metrics_of(record)
        self._context.observer.evaluated(version, self.metrics[version])

    def _settle_in_order(self) -> None:
        """Judge versions whose predecessors are all judged; let go of those that cannot be the result."""
        judgement = self._judgement
        while self._unsettled and self._unsettled[0] in self.metrics and not self.decided:
            version = self._unsettled.pop(0)
            judgement.judge(version, self.metrics[version])
            for judged in self._commits.keys() - {*self._unsettled, *judgement.candidates}:
                del self._commits[judged]
                self._keeper.release(judged, _WHO)
        self._forget_the_judged()

    def _forget_the_judged(self) -> None:
        """Drop metrics that the store has and nobody waits for."""
        through = self._judgement.through
        for version in [each for each in self.metrics if each < through]:
            if version not in self._judgement.candidates and version not in self._unsettled:
                del self.metrics[version]
