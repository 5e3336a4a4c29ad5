"""Evaluation as a function, beside training: versions are evaluated in the background and judged in order."""

import asyncio
from typing import Any

from sapflow.driver.keeper import Keeper
from sapflow.errors import SapflowError
from sapflow.messages.replies import EvaluateReply
from sapflow.messages.requests import EvaluateRequest
from sapflow.objects import keys
from sapflow.records.commits import Commit
from sapflow.steps.context import Context


class Evaluations:
    """Evaluates each due version once; the first that meets the target, in order of versions, is the result."""

    def __init__(self, context: Context, keeper: Keeper) -> None:
        self._context, self._keeper = context, keeper
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._target = context.job.spec.algorithm.target_accuracy
        self.accuracies: dict[int, float | None] = {}
        self.losses: dict[int, float] = {}
        self._unsettled: list[int] = []
        self._commits: dict[int, Commit] = {}
        self.reached: Commit | None = None
        """The first version that meets the target, once that is certain."""

    @property
    def possible(self) -> bool:
        return self._context.manifest.validation_samples > 0

    def due(self, version: int, *, final: bool = False) -> bool:
        """Whether a version is evaluated: every so many steps, once an epoch if not said, and the last one."""
        if not self.possible or version == 0:
            return False
        context = self._context
        every = context.job.spec.evaluation.every_steps
        if every is None:
            every = context.steps_per_epoch * context.facts.units(context.job.spec.workers)
        return final or version % every == 0

    def start(self, commit: Commit) -> None:
        """Evaluate a version in the background, unless that is done; it is kept until the outcome is settled."""
        if commit.version in self._commits or commit.version in self.losses:
            return
        self._await_turn(commit)
        self._tasks[commit.version] = asyncio.create_task(self._evaluate(commit))

    def _await_turn(self, commit: Commit) -> None:
        self._keeper.hold(commit, "evaluation", whole=True)
        self._commits[commit.version] = commit
        self._unsettled.append(commit.version)
        self._unsettled.sort()

    def check(self) -> None:
        """Raise what a background evaluation failed with."""
        for version, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[version]
                task.result()

    async def recover(self, last: Commit) -> None:
        """Take in what an earlier driver evaluated, and evaluate what it committed and did not."""
        due = [version for version in range(1, last.version + 1) if self.due(version)]
        evaluated = await asyncio.gather(*(self._record(version) for version in due))
        for version, record in zip(due, evaluated, strict=True):
            if record is not None and not self._meets(record):
                self._take_in(version, record)
                continue
            commit = await self._context.records.commit(version)
            if commit is None:
                continue
            if record is None:
                self.start(commit)
            else:
                self._await_turn(commit)
                self._take_in(version, record)
        self._settle_in_order()

    async def loss_of(self, version: int) -> float:
        """The validation loss of a version that is under evaluation, or was; waits for it."""
        while version not in self.losses:
            await asyncio.wait({self._tasks[version]})
            self.check()
        return self.losses[version]

    async def settle(self) -> None:
        """Wait for the evaluations under way, as far as they may change the result."""
        try:
            while self._tasks and self.reached is None:
                await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
                self.check()
        finally:
            await self.close()

    def release_all_but(self, chosen: Commit) -> None:
        """The result is written: no other version is needed any more."""
        self._keeper.release_all_but({chosen.version}, "evaluation")

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
                # Another driver may have evaluated the version first, and collected it.
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
            spec=context.spec_key,
            manifest=context.manifest_key,
            params=commit.params,
            sizes=commit.sizes,
        )
        reply = await context.caller.call("worker", request, EvaluateReply)
        sums = {name: float.fromhex(text) for name, text in reply.sums.items()}
        samples = reply.samples
        record = {"version": version, "samples": samples, "loss": sums["loss"] / samples}
        if context.manifest.task == "classification":
            record["accuracy"] = sums["correct"] / samples
        if not await context.records.write(keys.evaluation(context.prefix, version), record):
            record = await self._record(version) or record
        return record

    def _take_in(self, version: int, record: dict[str, Any]) -> None:
        # The record of a loss that was not finite says null.
        loss = float("nan") if record["loss"] is None else record["loss"]
        self.losses[version], self.accuracies[version] = loss, record.get("accuracy")
        self._context.observer.evaluated(version, loss, record.get("accuracy"))

    def _meets(self, record: dict[str, Any]) -> bool:
        accuracy = record.get("accuracy")
        return self._target is not None and accuracy is not None and accuracy >= self._target

    def _settle_in_order(self) -> None:
        """Judge versions whose predecessors are all judged; let go of those that are not the result."""
        while self._unsettled and self._unsettled[0] in self.losses and self.reached is None:
            version = self._unsettled.pop(0)
            commit = self._commits.pop(version)
            if self._meets({"accuracy": self.accuracies[version]}):
                self.reached = commit
            else:
                self._keeper.release(version, "evaluation")
