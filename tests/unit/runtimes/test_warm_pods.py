"""The way that a call takes: straight to a warm instance, or through the activator, never both at once."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sapflow.runtimes.warm_pods import GROWTH_SECONDS, RETRY_SECONDS, WarmPods


class Service:
    """A service whose instances are given, and the ways that its calls took."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.now = 0.0
        self.pods = WarmPods(lambda: self.addresses, lambda: self.now)
        self.at_work: list[str | None] = []

    async def call(
        self, rank: int | None = None, work: Callable[[], Awaitable[None]] | None = None
    ) -> str | None:
        way = await self.pods.enter(rank)
        self.at_work.append(way)
        ways = set(self.at_work)
        assert ways == {None} or None not in ways, "two ways at once"
        assert way is None or self.at_work.count(way) == 1, "two calls of one instance"
        try:
            await (work() if work is not None else asyncio.sleep(0))
        finally:
            self.at_work.remove(way)
            self.pods.leave(way)
        return way

    async def burst(self, count: int) -> list[str | None]:
        return await asyncio.gather(*(self.call(rank) for rank in range(count)))


def test_calls_go_through_the_activator_where_no_instance_is_known() -> None:
    async def test() -> list[str | None]:
        return await Service().burst(3)

    assert asyncio.run(test()) == [None] * 3


def test_calls_go_straight_as_soon_as_as_many_instances_are_ready_as_are_called_at_once() -> None:
    async def test() -> list[list[str | None]]:
        service = Service()
        ways = [await service.burst(3)]
        service.addresses = ["a", "b"]
        ways.append(await service.burst(3))
        service.addresses = ["a", "b", "c"]
        ways.append(await service.burst(3))
        return ways

    first, second, third = asyncio.run(test())
    assert first == second == [None] * 3
    assert sorted(map(str, third)) == ["a", "b", "c"]


def test_a_rank_goes_back_to_its_instance() -> None:
    async def test() -> tuple[list[str | None], list[str | None]]:
        service = Service("a", "b", "c")
        before = await service.burst(3)
        ranks = [2, 0, 1]
        after = await asyncio.gather(*(service.call(rank) for rank in ranks))
        return before, [after[ranks.index(rank)] for rank in range(3)]

    before, after = asyncio.run(test())
    assert before == after


def test_after_a_burst_that_is_larger_than_the_instances_the_next_asks_for_more() -> None:
    async def test() -> list[str | None]:
        service = Service("a", "b")
        assert set(await service.burst(2)) == {"a", "b"}
        await service.burst(3)
        return await service.burst(3)

    assert asyncio.run(test()) == [None] * 3


def test_where_knative_starts_no_more_calls_wait_for_the_instances_that_there_are() -> None:
    async def test() -> list[set[str | None]]:
        service = Service("a", "b")
        await service.burst(4)
        ways = []
        for seconds in (0.0, GROWTH_SECONDS, RETRY_SECONDS, GROWTH_SECONDS):
            service.now += seconds
            ways.append(set(await service.burst(4)))
        return ways

    assert asyncio.run(test()) == [{None}, {"a", "b"}, {None}, {"a", "b"}]


def test_where_it_starts_one_it_gets_time_to_start_the_next() -> None:
    async def test() -> list[set[str | None]]:
        service = Service("a")
        await service.burst(3)
        ways = [set(await service.burst(3))]
        service.now += GROWTH_SECONDS - 1
        service.addresses = ["a", "b"]
        ways.append(set(await service.burst(3)))
        service.now += GROWTH_SECONDS - 1
        service.addresses = ["a", "b", "c"]
        ways.append(set(await service.burst(3)))
        return ways

    assert asyncio.run(test()) == [{None}, {None}, {"a", "b", "c"}]


def test_the_direct_way_comes_back_after_some_smaller_bursts() -> None:
    async def test() -> list[str | None]:
        service = Service("a")
        await service.burst(2)
        return [await service.call() for _ in range(20)]

    ways = asyncio.run(test())
    assert ways[0] is None
    assert ways[-1] == "a"


def test_an_instance_that_was_dropped_is_called_again_only_after_it_was_not_ready() -> None:
    async def test() -> list[str | None]:
        service = Service("a")
        ways = [await service.call()]
        service.pods.drop("a")
        ways.append(await service.call())
        service.addresses = []
        ways.append(await service.call())
        service.addresses = ["a"]
        ways.append(await service.call())
        return ways

    assert asyncio.run(test()) == ["a", None, None, "a"]


def test_calls_without_pause_change_to_the_direct_way_when_instances_are_ready() -> None:
    async def test() -> list[str | None]:
        service = Service()
        ways: list[str | None] = []

        async def keep_calling() -> None:
            for _ in range(100):
                ways.append(await service.call())
                service.addresses = ["a", "b"]

        await asyncio.gather(keep_calling(), keep_calling())
        return ways

    ways = asyncio.run(test())
    assert ways[0] is None
    assert set(ways[-10:]) <= {"a", "b"}


def test_a_call_that_is_cancelled_while_it_waits_passes_its_turn_on() -> None:
    async def test() -> list[str | None]:
        service = Service("a")
        service.now = GROWTH_SECONDS
        release = asyncio.Event()

        async def hold() -> None:
            await release.wait()

        await service.burst(3)
        service.now += GROWTH_SECONDS
        held = asyncio.create_task(service.call(0, hold))
        waiting = [asyncio.create_task(service.call(rank)) for rank in (1, 2)]
        for _ in range(3):
            await asyncio.sleep(0)
        release.set()
        await held
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        return [await waiting[1], await service.call()]

    assert asyncio.run(asyncio.wait_for(test(), 10)) == ["a", "a"]


def test_where_all_instances_vanish_those_who_wait_go_through_the_activator() -> None:
    async def test() -> tuple[str | None, ...]:
        service = Service("a")
        await service.burst(3)
        service.now = GROWTH_SECONDS

        async def vanish() -> None:
            service.addresses = []

        return await asyncio.gather(service.call(0, vanish), service.call(1), service.call(2))

    assert tuple(asyncio.run(asyncio.wait_for(test(), 10))) == ("a", None, None)
