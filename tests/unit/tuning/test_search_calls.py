"""Calls of a search: never more than N at once, never above the budget, whatever fails, is hedged or given up."""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from helpers import virtual_loop
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.errors import InstanceLost, JobFailed
from sapflow.quantities.prices import AWS_LAMBDA, cost
from sapflow.quantities.roles import Role
from sapflow.runtimes import handover
from sapflow.runtimes.sender import Reply
from sapflow.tuning.budget import Budget
from sapflow.tuning.calls import BUDGET_EXCEEDED, GRACE, Calls, LimitedSender

MEMORY: dict[Role, int] = {"worker": 1 << 30, "merger": 1 << 28}
CPUS: dict[Role, float | None] = {"worker": None, "merger": None}
LIMIT = 10.0


class Functions:
    """Instances that take a random time, and lose one call in five; it keeps the account that a platform would."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = self.most = 0
        self.billed = 0.0
        self.ops: list[str] = []

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        clock = asyncio.get_running_loop().time
        began, takes, fails = clock(), self.random.uniform(0.1, seconds), self.random.random() < 0.2
        self.now += 1
        self.ops.append(request.get("op", ""))
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(takes)
            if fails:
                raise InstanceLost("gone")
            return Reply({}, takes, 0.0, 0.0, MEMORY[role])
        finally:
            self.now -= 1
            self.billed += cost(AWS_LAMBDA, MEMORY[role], clock() - began, None)

    async def close(self) -> None:
        """Nothing to end."""


def worst(role: Role, seconds: float = LIMIT) -> float:
    return cost(AWS_LAMBDA, MEMORY[role], seconds + GRACE, None)


def limited(calls: Calls, trial: int, functions: Any) -> LimitedSender:
    return calls.sender(trial, functions, AWS_LAMBDA, MEMORY, CPUS)


def common(calls: Calls, sender: Functions) -> LimitedSender:
    return calls.sender(0, sender, AWS_LAMBDA, MEMORY, CPUS, common=True)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    most=st.integers(1, 6),
    wanted=st.integers(1, 40),
    budget=st.one_of(st.none(), st.floats(0.0003, 0.01)),
    deaths=st.integers(0, 2),
)
def test_neither_n_nor_the_budget_is_ever_exceeded(
    seed: int, most: int, wanted: int, budget: float | None, deaths: int
) -> None:
    functions, chance = Functions(seed), random.Random(seed)
    noted, reasons = 0.0, set[str]()
    kept = 0.0 if budget is None else worst("merger")
    exported = budget is not None and budget < kept

    async def grant(dollars: float) -> None:
        nonlocal noted
        await asyncio.sleep(0.01)
        noted = dollars

    async def trial(calls: Calls, number: int) -> None:
        role: Role = chance.choice(("worker", "merger"))
        for _ in range(3):
            try:
                call = limited(calls, number, functions).invoke(role, {}, seconds=LIMIT)
                await asyncio.wait_for(call, chance.choice((2.0, 100.0, None)))
            except (InstanceLost, TimeoutError):
                continue
            except JobFailed as error:
                reasons.add(error.reason)
                return

    async def driver(until: float | None) -> Calls:
        """One that dies at `until`, with all its calls; the next one counts what may have been used."""
        account = Budget(budget, used=noted, granted=noted)
        calls = Calls(most, account, lambda number: (float(number % 3),), grant)
        if budget is not None:
            calls.keep(lambda: kept)
        with suppress(InstanceLost, JobFailed):
            await common(calls, functions).invoke("worker", {"op": "cut"}, seconds=LIMIT)
        work = [asyncio.create_task(trial(calls, number)) for number in range(wanted)]
        await asyncio.wait(work, timeout=until)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        return calls

    async def main() -> None:
        nonlocal noted
        for _ in range(deaths):
            await driver(chance.uniform(1, 20))
        calls = await driver(None)
        calls.keep(None)
        if not exported:
            # Whatever was spent, there is enough for the model.
            with suppress(InstanceLost):
                await common(calls, functions).invoke("merger", {"op": "export"}, seconds=LIMIT)
            assert functions.ops[-1] == "export"
        assert calls.in_flight == 0
        assert calls.budget.reserved == pytest.approx(0, abs=1e-9)
        if deaths == 0:
            assert calls.budget.used == pytest.approx(functions.billed, abs=2e-8 * 3 * wanted)
        if budget is not None:
            assert functions.billed <= noted + 1e-8
            assert noted <= budget + 1e-8

    virtual_loop.run(main())
    assert reasons <= {BUDGET_EXCEEDED}
    assert functions.most <= most
    if budget is not None:
        assert functions.billed <= budget + 1e-8


def test_what_common_calls_cost_is_told_once_and_is_no_trials() -> None:
    async def main() -> None:
        calls, functions = Calls(2, Budget(None)), Functions(3)
        await asyncio.gather(
            limited(calls, 0, functions).invoke("worker", {}, seconds=LIMIT),
            common(calls, functions).invoke("merger", {}, seconds=LIMIT),
        )
        dollars = calls.take_common()
        assert 0 < dollars < functions.billed
        assert calls.budget.used == pytest.approx(functions.billed)
        assert calls.take_common() == 0.0

    virtual_loop.run(main())


def test_what_is_kept_for_the_model_is_given_to_no_other_call() -> None:
    async def main() -> None:
        calls, functions = Calls(2, Budget(worst("worker") + worst("merger") * 0.5)), Functions(3)
        calls.keep(lambda: common(calls, functions).worst("merger", LIMIT))
        with pytest.raises(JobFailed, match="that are kept to export the model"):
            await limited(calls, 0, functions).invoke("worker", {}, seconds=LIMIT)
        calls.keep(None)
        await common(calls, functions).invoke("merger", {"op": "export"}, seconds=LIMIT)
        assert functions.ops == ["export"]

    virtual_loop.run(main())


def test_larger_functions_have_more_reserved_for_their_calls_and_for_the_model() -> None:
    calls, functions = Calls(2, Budget(1.0)), Functions(3)
    calls.keep(lambda: common(calls, functions).worst("merger", LIMIT))
    before, sender = calls.budget.kept, limited(calls, 0, functions)
    assert (before, sender.worst("worker", LIMIT)) == (worst("merger"), worst("worker"))
    calls.may_have("merger", 2 * MEMORY["merger"])
    calls.may_have("worker", 3 * MEMORY["worker"])
    calls.may_have("worker", MEMORY["worker"])
    doubled = cost(AWS_LAMBDA, 2 * MEMORY["merger"], LIMIT + GRACE, None)
    assert calls.budget.kept == pytest.approx(doubled)
    tripled = cost(AWS_LAMBDA, 3 * MEMORY["worker"], LIMIT + GRACE, None)
    assert sender.worst("worker", LIMIT) == pytest.approx(tripled)


def test_what_can_still_win_is_served_first() -> None:
    order: list[int] = []

    class Noted(Functions):
        async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
            order.append(request["trial"])
            await asyncio.sleep(1)
            return Reply({}, 1.0, 0.0, 0.0)

    async def main() -> None:
        calls = Calls(1, Budget(None), lambda trial: {0: (1.0, 0.3), 1: (2.0, 0.1), 2: (1.0, 0.9)}[trial])
        functions = Noted(0)
        first = asyncio.create_task(limited(calls, 0, functions).invoke("worker", {"trial": 0}, seconds=5))
        await asyncio.sleep(0)
        rest = [
            limited(calls, each, functions).invoke("worker", {"trial": each}, seconds=5) for each in (0, 2, 1)
        ]
        await asyncio.gather(first, *rest)

    virtual_loop.run(main())
    assert order == [0, 1, 2, 0]


def test_a_call_that_may_cost_more_than_is_left_is_refused_with_a_remedy() -> None:
    async def main() -> None:
        calls = Calls(4, Budget(worst("worker") * 0.9))
        with pytest.raises(JobFailed, match=r"spec\.budgetUSD .* is used up: .*invocationSeconds"):
            await limited(calls, 0, Functions(0)).invoke("worker", {}, seconds=LIMIT)
        assert calls.in_flight == 0

    virtual_loop.run(main())


def test_a_raised_budget_serves_who_waits() -> None:
    async def main() -> None:
        calls = Calls(4, Budget(worst("worker") * 1.5))
        functions = Functions(1)
        sender = limited(calls, 0, functions)
        both = [asyncio.create_task(sender.invoke("worker", {}, seconds=LIMIT)) for _ in range(2)]
        await asyncio.sleep(0)
        assert calls.in_flight == 1
        calls.raise_limits(4, 1.0)
        assert calls.in_flight == 2
        await asyncio.gather(*both, return_exceptions=True)

    virtual_loop.run(main())


def test_a_call_that_waits_for_a_place_is_not_billed() -> None:
    async def main() -> None:
        calls = Calls(1, Budget(None))
        functions = Functions(2)
        sender = limited(calls, 0, functions)
        running = asyncio.create_task(sender.invoke("worker", {}, seconds=LIMIT))
        await asyncio.sleep(0)
        with handover.watching() as watched:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sender.invoke("worker", {}, seconds=LIMIT), 0.05)
            assert watched.seconds is None
        await asyncio.gather(running, return_exceptions=True)
        with handover.watching() as watched:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sender.invoke("worker", {}, seconds=LIMIT), 0.05)
            assert watched.seconds == pytest.approx(0.05)

    virtual_loop.run(main())
