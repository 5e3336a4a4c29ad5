"""The way of a job from commit to commit."""

import asyncio
import logging
from typing import Any

from sapflow.driver.evaluations import Evaluations
from sapflow.driver.failures import first_of, stopped_by
from sapflow.driver.keeper import Keeper
from sapflow.driver.memory_search import MemorySearch
from sapflow.driver.plans import Planning
from sapflow.driver.plateau import Plateau
from sapflow.driver.repeats import StepRepeats
from sapflow.driver.skips import count_skips
from sapflow.errors import SapflowError
from sapflow.objects import keys
from sapflow.planning.other_workers import WorkersChanged
from sapflow.quantities import structure
from sapflow.records.commits import Commit, Plan
from sapflow.steps.algorithm import AlgorithmDriver
from sapflow.steps.calls import BUDGET_EXCEEDED
from sapflow.steps.carried import Carried, OtherBytes
from sapflow.steps.context import Context
from sapflow.steps.leftovers import Leftovers

log = logging.getLogger(__name__)


class Walk:
    """Takes a job from commit to commit, until it is done or must stop."""

    def __init__(
        self,
        context: Context,
        algorithm: AlgorithmDriver,
        plan: Plan,
        keeper: Keeper,
        evaluations: Evaluations,
        planning: Planning,
        memory_search: MemorySearch | None,
        until: int | None = None,
    ) -> None:
        """`plan` is that of the algorithm's commit. `until`: the version at which the job pauses, if it does not end
        before; None: it goes on to its end."""
        self._until = until
        self._context, self._keeper, self._evaluations = context, keeper, evaluations
        self._algorithm, self._planning, self._memory_search = algorithm, planning, memory_search
        if context.store.remote:
            algorithm.carried = Carried(context.store)
        self._commit = algorithm.commit
        self._plans: dict[str, Plan] = {}
        self._take(plan)
        self._repeats = StepRepeats()
        self._plateau = Plateau(context, evaluations)
        self._cpus = set(self._commit.measured.cpus or ())

    async def to_the_end(self) -> Commit:
        """Train to the end, or to where the job pauses, and return the version that is the result, or would be."""
        self._settle(self._commit, await self._plan())
        try:
            while not self._algorithm.finished and not self._is_reached(self.version):
                self._algorithm.plateau = await self._plateau.before_step_after(self._commit)
                self._evaluations.check()
                if self._evaluations.decided:
                    break
                await self._check_limits()
                await self._advance()
        finally:
            self._keeper.remove(await self._algorithm.abandon_next(), self.version)
            if self._algorithm.carried is not None:
                await self._algorithm.carried.close()
            await self._algorithm.close()
        if self._evaluations.due(self.version, final=not self.paused):
            self._evaluations.start(self._commit)
        await self._evaluations.settle()
        return self._evaluations.chosen(self._commit)

    @property
    def paused(self) -> bool:
        """Whether the job stands where it was to pause, with steps left that may change its result."""
        left = not self._algorithm.finished and not self._evaluations.decided
        return left and self._is_reached(self.version)

    def _is_reached(self, version: int) -> bool:
        return self._until is not None and version >= self._until

    async def _plan(self) -> Plan:
        name = self._commit.plan
        if name not in self._plans:
            self._take(await self._context.records.plan(name))
        return self._plans[name]

    def _take(self, plan: Plan) -> None:
        """Keep the plan of the last commit."""
        self._plans[self._commit.plan] = plan
        sizes = self._commit.sizes
        structure.shard_ranges(sizes.total, plan.shards, sizes.block)

    @property
    def last(self) -> Commit:
        return self._commit

    @property
    def version(self) -> int:
        """The number of the last committed version."""
        return self._commit.version

    async def _advance(self) -> None:
        """Make a step and its commit; if another driver was first, take its commit."""
        old, records, algorithm = self._commit, self._context.records, self._algorithm
        try:
            new = await algorithm.next_commit()
        except (SapflowError, ExceptionGroup) as error:
            standing = await records.commit(old.version + 1)
            failure = first_of(error)
            again = algorithm.repeatable and self._repeats.may_repeat(failure, old.version)
            if standing is None and again:
                self._context.caller.tally.remade[failure.reason] += 1
                await self._clear()
                return
            if standing is None:
                if failure.reason == BUDGET_EXCEEDED:
                    await self._check_limits()
                raise failure from None
            new = standing
        self._warn_of_cpus(new)
        if self._memory_search is not None:
            new = self._memory_search.next(old, new)
        skips = await count_skips(self._context, self._keeper, old, new)
        known = {"kept": self._keeper.kept, "judged": self._evaluations.judged, "skips": skips or None}
        changes = {**known, **await self._planned_anew(old, new)}
        if algorithm.plateau is not None:
            changes["plateau"] = self._plateau.after(algorithm.plateau, old, new)
        new = new.model_copy(update=changes)
        writing = asyncio.create_task(self._write(new))
        goes_on = not self._budget_spent and not self._is_reached(new.version)
        if new.plan == old.plan and self._memory_search is None and goes_on:
            algorithm.begin_next(new, await self._plan())
        try:
            self._commit, ours = await writing
        except OtherBytes as error:
            await self._leave_to_the_root(error)
            return
        left = Leftovers()
        if self._commit.digest != new.digest:
            left += await algorithm.abandon_next()
        if self._commit.plan != old.plan:
            self._planning.settle()
            plan = await self._plan()
            if plan.workers != self._context.job.spec.workers:
                raise WorkersChanged
            self._context.observer.planned(plan, self._commit.forecast)
        self._settle(self._commit, await self._plan())
        self._context.observer.committed(self._commit)
        left += algorithm.leftovers(self._commit)
        if not ours:
            prefix = self._context.prefix
            left += Leftovers(sorted({*new.objects(prefix)} - {*self._commit.objects(prefix)}))
        self._keeper.superseded(old, self._commit, left)
        if await self._keeper.checkpoint(self._commit):
            self._context.observer.checkpointed(self._commit.version)
        if self._evaluations.due(self._commit.version):
            self._evaluations.start(self._commit)

    async def _write(self, new: Commit) -> tuple[Commit, bool]:
        """Write a commit once all that it names stands in the store; see `Records.settle`."""
        if self._algorithm.carried is not None:
            await self._algorithm.carried.stored()
        return await self._context.records.settle(new)

    async def _leave_to_the_root(self, error: OtherBytes) -> None:
        """Repeat a step whose version stands in the store with other bytes: from now on the root, which writes itself
        and reads what it finds, keeps to what stands there."""
        log.warning("step %d is made again: %s", self.version + 1, error)
        self._algorithm.carried = None
        self._keeper.remove(await self._algorithm.abandon_next(), self.version)
        await self._clear()

    def _warn_of_cpus(self, new: Commit) -> None:
        """Warn of CPUs of another kind than the job's so far, once for each: a repeated call may have other bits."""
        found = {*(new.measured.cpus or ())}
        if self._cpus and not found <= self._cpus:
            log.warning(
                "step %d was computed on %s, and the job so far on %s: bits may depend on which instance serves a call",
                new.version,
                ", ".join(sorted(found)),
                ", ".join(sorted(self._cpus)),
            )
        self._cpus |= found

    async def _clear(self) -> None:
        """Remove the contributions of a step from the store, whichever driver wrote them, before the step is repeated.

        An object may exist for writers and be missing for readers, as was seen after two MinIO processes used the same
        volume. The objects that replace them are the same, and another driver that misses one repeats its step, too.
        """
        await asyncio.to_thread(self._context.store.delete, self._algorithm.contributions().keys)

    async def _planned_anew(self, old: Commit, new: Commit) -> dict[str, Any]:
        """The changes to a commit that begins another plan. The plan's record is written first."""
        search = new.measured.search
        if new.plan != old.plan or (search is not None and not search.done):
            # Steps with different memory sizes cannot be compared to judge a tree.
            return {}
        found = self._planning.after(old, new, await self._plan())
        if found is None:
            return {}
        plan, forecast = found
        await self._context.records.write(
            keys.plan(self._context.prefix, plan.name), plan.body(), durable=True
        )
        return {"plan": plan.name, "forecast": forecast}

    def _settle(self, commit: Commit, plan: Plan) -> None:
        """Take note of a commit. It and all versions that functions may still read stay in the store."""
        self._algorithm.settle(commit, plan)
        self._keeper.hold(commit, "workers")
        self._keeper.release_all_but(self._algorithm.held_versions() | {commit.version}, "workers")

    @property
    def _budget_spent(self) -> bool:
        budget = self._context.job.spec.limits.budget_usd
        # A step that has begun ahead costs already, and is finished: its commit says so.
        account = self._commit.account if self._algorithm.has_begun_next else self._context.caller.account
        return budget is not None and account.cost_usd >= budget

    async def _check_limits(self) -> None:
        """Stop with a checkpoint if the budget is spent."""
        if self._budget_spent:
            await self._keeper.record_checkpoint(self._commit)
            stop = f"spec.limits.budgetUSD ({self._context.job.spec.limits.budget_usd:g}) is spent"
            raise stopped_by(stop, BUDGET_EXCEEDED, self._commit.version, self._planning.runtime)
