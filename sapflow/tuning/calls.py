"""The calls of all trials of a search: at most N at once, and none that the budget might not be enough for.

Each trial has a sender that goes through here, so that every call counts, those of mergers, roots, hedges and retries
included. A call waits for a place and for the worst price that it may have. Trials that promise more are served first;
of equal ones, whoever came first. A call holds nothing while it waits, so no two wait for each other.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sapflow.errors import JobFailed
from sapflow.quantities.prices import Price, cost
from sapflow.quantities.roles import Role
from sapflow.runtimes import handover
from sapflow.runtimes.sender import Reply, Sender
from sapflow.tuning.budget import Budget
from sapflow.tuning.pool_sizes import WorkerCall
from sapflow.tuning.usage import UsageMeter

BUDGET_EXCEEDED = "BudgetExceeded"
GRACE = 5.0
"""Seconds beyond its time limit that a call is reserved for: an instance is given up a little later than that."""


class SearchBudgetSpent(JobFailed):
    """What is left of the search's budget is not enough for a call. No trial has failed by that."""

    reason = BUDGET_EXCEEDED


GROWTH = 0.1
"""The share by which the dollars of common calls have grown when they are noted."""
Standing = Callable[[int], tuple[float, ...]]
"""How much a trial promises: more is better."""


class Calls:
    """The limit on calls in flight, `most`, and the budget. Both may be raised at any time."""

    def __init__(
        self,
        most: int,
        budget: Budget,
        standing: Standing = lambda trial: (),
        grant: Callable[[float], Awaitable[None]] | None = None,
        meter: UsageMeter | None = None,
        spend: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        """`grant` notes durably what calls may cost in all, before a call starts that needs more, and `spend` what
        common calls have cost, before one starts and whenever that has grown by a tenth. `meter` is told how many are
        in flight."""
        if most < 1:
            raise ValueError(f"most is {most}: at least one call must be able to run")
        self._most, self.budget, self._standing, self._grant = most, budget, standing, grant
        self._meter, self._spend, self._spent = meter, spend, 0.0
        self._waiting: list[_Waiter] = []
        self._count = 0
        self._granting = asyncio.Lock()
        self.in_flight = 0
        """Calls that have a place."""
        self.common = 0.0
        """Dollars of common calls since `take_common`."""
        self._largest: dict[Role, int] = {}
        self._last: Callable[[], float] | None = None
        self._watcher: Callable[[WorkerCall], None] | None = None

    @property
    def most(self) -> int:
        return self._most

    def raise_limits(self, most: int, budget: float | None) -> None:
        """Go on with other limits. Fewer calls than are in flight end by themselves; none is cut off."""
        self._most, self.budget.limit = most, budget
        self._measure()
        self._serve()

    def sender(
        self,
        trial: int,
        sender: Sender,
        price: Price,
        memory: Mapping[Role, int],
        cpus: Mapping[Role, float | None],
        *,
        common: bool = False,
        group: str = "",
    ) -> "LimitedSender":
        """The sender of a trial. `memory` is in bytes; where instances have more, their replies or `may_have` tell, and
        the next calls reserve that. What `common` calls cost is the search's and no trial's. Trials of a `group` do the
        same work in a step."""
        return LimitedSender(self, trial, sender, price, memory, cpus, common=common, group=group)

    def watch(self, watcher: Callable[[WorkerCall], None] | None) -> None:
        """Tell each warm worker's call that has done the work of a trial's step; None: none any more."""
        self._watcher = watcher

    def seen(self, call: WorkerCall) -> None:
        """Such a call has ended."""
        if self._watcher is not None:
            self._watcher(call)

    def may_have(self, role: Role, memory: int) -> None:
        """From now on an instance of a role may have so much memory, in bytes; what is reserved for its calls follows.

        Smaller ones may still be there, so it never falls.
        """
        self._largest[role] = max(memory, self.most_memory(role))
        if self._last is not None:
            self.budget.kept = self._last()

    def keep(self, last: Callable[[], float] | None) -> None:
        """Set aside the worst price of a call that comes last, as `last` says it, from all others; None: it comes
        now."""
        self._last = last
        self.budget.kept = 0.0 if last is None else last()

    def most_memory(self, role: Role) -> int:
        """The most memory in bytes that an instance of a role is known to have; 0 if none is known."""
        return self._largest.get(role, 0)

    def take_common(self) -> float:
        """The dollars of common calls since the last time."""
        dollars, self.common = self.common, 0.0
        self._spent += dollars
        return dollars

    async def start(self, trial: int, worst: float) -> None:
        """Wait for a place and for the budget. Raises SearchBudgetSpent if it will never be enough."""
        handover.waits()
        waiter = _Waiter(asyncio.get_running_loop().create_future(), trial, worst, self._count)
        self._count += 1
        self._waiting.append(waiter)
        self._serve()
        try:
            await waiter.future
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._serve()
            elif waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self.finish(worst, 0.0)
            raise
        try:
            await self._granted()
        except BaseException:
            self.finish(worst, 0.0)
            raise

    def finish(self, worst: float, dollars: float, *, common: bool = False) -> None:
        """A call that had a place has ended."""
        self.in_flight -= 1
        if common:
            self.common += dollars
        self.budget.settle(worst, dollars)
        self._serve()
        self._measure()

    async def _granted(self) -> None:
        """Note what common calls have cost, and what calls may cost in all, where it is more than was noted."""
        async with self._granting:
            if self._spend is not None and self.common > GROWTH * self._spent:
                noted = self.common
                await self._spend(noted)
                self.common, self._spent = self.common - noted, self._spent + noted
            if self._grant is None:
                return
            more = self.budget.grant(0.0)
            if more is not None:
                await self._grant(more)
                self.budget.granted = more

    def _serve(self) -> None:
        """Give places to those who wait, the best first; a call that the budget is not enough for yet keeps the others
        from taking what it waits for."""
        if self.in_flight >= self._most:
            return
        order = [
            (tuple(-each for each in self._standing(one.trial)), one.count, one) for one in self._waiting
        ]
        heapq.heapify(order)
        while order and self.in_flight < self._most:
            waiter = heapq.heappop(order)[2]
            if waiter.future.done():
                self._waiting.remove(waiter)
            elif self.budget.fits(waiter.worst):
                self._waiting.remove(waiter)
                self.budget.reserve(waiter.worst)
                self.in_flight += 1
                self._measure()
                waiter.future.set_result(None)
            elif not self.budget.ever_fits(waiter.worst):
                self._waiting.remove(waiter)
                waiter.future.set_exception(self._too_dear(waiter.worst))
            else:
                break

    def _measure(self) -> None:
        if self._meter is not None:
            self._meter.changed(self.in_flight, self._most)

    def _too_dear(self, worst: float) -> SearchBudgetSpent:
        budget = self.budget
        kept = f" beside {budget.kept:.3g} that are kept to export the model" if budget.kept else ""
        return SearchBudgetSpent(
            f"spec.budgetUSD ({budget.limit:g}) is used up: {budget.left:.3g} dollars are left{kept}, and a call may "
            f"cost {worst:.3g}; raise it, or lower spec.template.spec.limits.invocationSeconds",
            reason=BUDGET_EXCEEDED,
            version=-1,
        )


def _is_complete(request: Mapping[str, Any], reply: Reply) -> bool:
    """Whether a warm instance has done all of a request's work in this one call."""
    begun = request.get("cursor") is not None
    return reply.cold_seconds == 0.0 and not begun and bool(reply.body.get("done", True))


class _Waiter:
    """A call that waits; in the order of waiters of one standing, the first comes first."""

    __slots__ = ("count", "future", "trial", "worst")

    def __init__(self, future: "asyncio.Future[None]", trial: int, worst: float, count: int) -> None:
        self.future, self.trial, self.worst, self.count = future, trial, worst, count


class LimitedSender:
    """One trial's `Sender`: every call has a place among the search's, and its price is kept apart."""

    def __init__(
        self,
        calls: Calls,
        trial: int,
        sender: Sender,
        price: Price,
        memory: Mapping[Role, int],
        cpus: Mapping[Role, float | None],
        *,
        common: bool = False,
        group: str = "",
    ) -> None:
        self._calls, self._trial, self._sender = calls, trial, sender
        self._common, self._group = common, group
        self._price, self._memory, self._cpus = price, dict(memory), cpus

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """See Sender.invoke. Raises SearchBudgetSpent if the budget is not enough for this call."""
        worst = self.worst(role, seconds)
        await self._calls.start(self._trial, worst)
        handover.passed_on()
        dollars = 0.0
        try:
            with handover.watching() as watched:
                answered = False
                try:
                    reply = await self._sender.invoke(role, request, seconds=seconds)
                    answered = True
                finally:
                    if not answered and (had := watched.seconds) is not None:
                        dollars = self._dollars(role, min(had, seconds + GRACE), None)
            dollars = self._dollars(role, reply.seconds, reply.memory_bytes)
            if reply.memory_bytes is not None:
                self._memory[role] = reply.memory_bytes
                self._calls.may_have(role, reply.memory_bytes)
                if request.get("op") == "train" and _is_complete(request, reply):
                    peak = int(reply.body.get("peakMemoryBytes", 0))
                    self._calls.seen(
                        WorkerCall(self._group, reply.seconds, dollars, reply.memory_bytes, peak)
                    )
            return reply
        finally:
            self._calls.finish(worst, dollars, common=self._common)

    def worst(self, role: Role, seconds: float) -> float:
        """The dollars that a call with this time limit may cost."""
        memory = max(self._memory[role], self._calls.most_memory(role))
        return self._dollars(role, seconds + GRACE, memory)

    async def close(self) -> None:
        """Nothing: the sender below is all trials'."""

    def _dollars(self, role: Role, seconds: float, memory: int | None) -> float:
        return cost(self._price, self._memory[role] if memory is None else memory, seconds, self._cpus[role])
