"""Evaluation as a function, beside training: versions are evaluated in the background and judged in order."""

import asyncio

from sapflow import keys
from sapflow.driver.commits import Commit
from sapflow.driver.context import Context
from sapflow.driver.keeping import Keeper
from sapflow.requests import EvaluateRequest


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
        return sum(self._context.manifest.validation) > 0

    def due(self, version: int, *, final: bool = False) -> bool:
        """Whether a version is evaluated: every so many steps, once an epoch if not said, and the last one."""
        if not self.possible or version == 0:
            return False
        context = self._context
        every = context.job.spec.evaluation.every_steps
        if every is None:
            every = context.steps_per_epoch * (context.job.spec.workers if context.asynchronous else 1)
        return final or version % every == 0

    def start(self, commit: Commit) -> None:
        """Evaluate a version in the background; it is kept until the outcome is settled."""
        if commit.version in self._commits:
            return
        self._keeper.hold(commit, "evaluation")
        self._commits[commit.version] = commit
        self._unsettled.append(commit.version)
        self._unsettled.sort()
        self._tasks[commit.version] = asyncio.create_task(self._evaluate(commit))

    def check(self) -> None:
        """Raise what a background evaluation failed with."""
        for version, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[version]
                task.result()

    async def recover(self, last: Commit) -> None:
        """Take in what an earlier driver evaluated, and evaluate what it committed and did not."""
        records = self._context.records
        due = [version for version in range(1, last.version + 1) if self.due(version)]
        for commit in await asyncio.gather(*(records.commit(version) for version in due)):
            if commit is not None:
                self.start(commit)

    async def settle(self) -> None:
        """Wait for all evaluations under way."""
        try:
            await asyncio.gather(*self._tasks.values())
        finally:
            await self.close()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def _evaluate(self, commit: Commit) -> None:
        context, version = self._context, commit.version
        record = await context.records.read(keys.evaluation(context.uid, version))
        if record is None:
            request = EvaluateRequest(
                job=context.uid,
                version=version,
                seconds_left=1,
                spec=context.spec_key,
                manifest=context.manifest_key,
                params=commit.params,
                sizes=commit.sizes,
            )
            body = await context.caller.call("worker", request)
            sums = {name: float.fromhex(text) for name, text in body["sums"].items()}
            samples = body["samples"]
            record = {"version": version, "samples": samples, "loss": sums["loss"] / samples}
            if context.manifest.task == "classification":
                record["accuracy"] = sums["correct"] / samples
            key = keys.evaluation(context.uid, version)
            if not await context.records.write(key, record):
                record = await context.records.read(key) or record
        self.losses[version], self.accuracies[version] = record["loss"], record.get("accuracy")
        context.observer.evaluated(version, record["loss"], record.get("accuracy"))
        self._settle_in_order()

    def _settle_in_order(self) -> None:
        """Judge versions whose predecessors are all judged; let go of those that are not the result."""
        while self._unsettled and self._unsettled[0] in self.losses and self.reached is None:
            version = self._unsettled.pop(0)
            accuracy = self.accuracies[version]
            if self._target is not None and accuracy is not None and accuracy >= self._target:
                self.reached = self._commits[version]
            else:
                del self._commits[version]
                self._keeper.release(version, "evaluation")
