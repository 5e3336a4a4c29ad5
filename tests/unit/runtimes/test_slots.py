"""Places for calls at work: never too many, urgent first, in order, and none lost."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.runtimes.slots import Slots


def test_needs_at_least_one() -> None:
    with pytest.raises(ValueError, match="0"):
        Slots(0)


def test_serves_urgent_waiters_first_and_each_class_in_order() -> None:
    async def test() -> None:
        slots = Slots(1)
        await slots.acquire(urgent=False)
        order: list[str] = []

        async def wait(name: str) -> None:
            await slots.acquire(urgent=name.startswith("u"))
            order.append(name)
            slots.release()

        waiters = [asyncio.create_task(wait(name)) for name in ("o1", "u1", "o2", "u2")]
        await asyncio.sleep(0)
        slots.release()
        await asyncio.gather(*waiters)
        assert order == ["u1", "u2", "o1", "o2"]

    asyncio.run(test())


def test_jobs_take_turns_whoever_has_asked_for_more() -> None:
    async def test() -> None:
        slots = Slots(1)
        await slots.acquire(urgent=False, job="a")
        order: list[str] = []

        async def wait(name: str) -> None:
            await slots.acquire(urgent=False, job=name[0])
            order.append(name)
            slots.release()

        names = ("a1", "a2", "a3", "a4", "b1", "b2", "c1")
        waiters = [asyncio.create_task(wait(name)) for name in names]
        await asyncio.sleep(0)
        waiters[2].cancel()
        await asyncio.gather(waiters[2], return_exceptions=True)
        slots.release()
        await asyncio.gather(*waiters, return_exceptions=True)
        assert order == ["a1", "b1", "c1", "a2", "b2", "a4"]

    asyncio.run(test())


@given(
    count=st.integers(1, 3),
    calls=st.lists(st.tuples(st.booleans(), st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20),
)
def test_cancelled_waiters_and_holders_never_lose_or_double_a_slot(
    count: int, calls: list[tuple[bool, int, int]]
) -> None:
    """Each call holds its slot for so many turns of the loop, and is cancelled after so many (0: never)."""

    async def test() -> None:
        slots = Slots(count)
        held = 0
        most = 0

        async def call(urgent: bool, turns: int) -> None:
            nonlocal held, most
            await slots.acquire(urgent=urgent)
            held += 1
            most = max(most, held)
            try:
                for _ in range(turns):
                    await asyncio.sleep(0)
            finally:
                held -= 1
                slots.release()

        async def cancel(task: asyncio.Task[None], turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            if turns:
                task.cancel()

        tasks = [asyncio.create_task(call(urgent, turns)) for urgent, turns, _ in calls]
        cancels = [cancel(task, turns) for task, (_, _, turns) in zip(tasks, calls, strict=True)]
        await asyncio.gather(*cancels)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= count
        async with asyncio.timeout(5):
            for _ in range(count):
                await slots.acquire(urgent=False)
        waiter = asyncio.create_task(slots.acquire(urgent=True))
        await asyncio.sleep(0)
        assert not waiter.done()
        waiter.cancel()

    asyncio.run(test())


def test_a_slot_goes_to_the_waiter_that_suits_it_best_else_to_the_first() -> None:
    async def test() -> None:
        slots = Slots(1)
        await slots.acquire(urgent=False)
        order: list[str] = []
        gates = {name: asyncio.Event() for name in ("a", "b", "c")}

        async def wait(name: str) -> None:
            await slots.acquire(urgent=False, call=name)
            order.append(name)
            await gates[name].wait()

        waiters = [asyncio.create_task(wait(name)) for name in gates]
        await asyncio.sleep(0)
        slots.release(lambda call: call == "c")
        await asyncio.sleep(0)
        slots.release(lambda call: call == "nobody")
        await asyncio.sleep(0)
        slots.release()
        await asyncio.sleep(0)
        assert order == ["c", "a", "b"]
        for gate in gates.values():
            gate.set()
        await asyncio.gather(*waiters)

    asyncio.run(test())
