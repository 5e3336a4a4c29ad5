"""What a search's log records of calls in flight: their mean over time, their peak, and nothing that decides."""

import asyncio
from pathlib import Path

import pytest
from helpers import virtual_loop
from helpers.functions import Functions
from helpers.jobs import Place, make_search_place, tiny_job
from helpers.search_runs import TEMPLATE, Searching, iris_search, runner_of
from hypothesis import given
from hypothesis import strategies as st

from sapflow.tuning.entries import Common, End, body, read
from sapflow.tuning.log import Log
from sapflow.tuning.usage import BINS, SECONDS_BETWEEN, Usage, UsageMeter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_measurement_has_the_mean_of_each_bin_and_the_peak() -> None:
    clock = Clock()
    meter = UsageMeter(4, clock, lambda: 1_700_000_000 + clock.now)
    meter.changed(2, 4)
    clock.now += 0.125
    meter.changed(3, 4)
    meter.changed(1, 4)
    clock.now += 0.25
    assert meter.take() == Usage(1_700_000_100.375, 0.375, 0.25, (1.5, 1.0), 3, 4)
    clock.now += SECONDS_BETWEEN
    following = meter.take()
    assert following is not None
    assert (following.seconds, following.calls, following.peak) == (1.0, (1.0, 1.0, 1.0, 1.0), 1)


def test_a_second_measurement_within_a_second_is_left_for_the_next_unless_the_search_ends() -> None:
    clock = Clock()
    meter = UsageMeter(4, clock)
    assert meter.take() is not None
    clock.now += 0.5
    assert meter.take() is None
    ended = meter.take(always=True)
    assert ended is not None
    assert ended.seconds == 0.5


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0.0, 5_000.0)), max_size=60))
def test_whatever_the_time_bins_are_few_and_hold_every_second_of_every_call(
    steps: list[tuple[int, float]],
) -> None:
    clock = Clock()
    meter = UsageMeter(50, clock)
    meter.changed(0, 50)
    total = 0.0
    for calls, seconds in steps:
        meter.changed(calls, 50)
        clock.now += seconds
        total += calls * seconds
    usage = meter.take()
    assert usage is not None
    assert len(usage.calls) <= BINS
    widths = [min(usage.every, usage.seconds - index * usage.every) for index in range(len(usage.calls))]
    held = sum(mean * width for mean, width in zip(usage.calls, widths, strict=True))
    assert held == pytest.approx(total, rel=1e-3, abs=0.01 * usage.seconds + 0.1)
    assert usage.peak == max([0, *(calls for calls, _ in steps)])


def test_a_measurement_is_an_entry_of_the_log() -> None:
    usage = Usage(1_700_000_000.5, 2.0, 0.25, (1.5, 2.0), 3, 4)
    assert read(body(usage), "search/0.json") == usage


@pytest.mark.parametrize("order", ["Asynchronous", "InOrder"])
def test_the_log_of_a_search_tells_its_calls_in_flight_to_its_end(order: str, tmp_path: Path) -> None:
    place = make_search_place(tmp_path, tiny_job(**TEMPLATE))
    searching = Searching(place, iris_search(order=order, maxWorkers=3))
    search, _ = searching.run()
    entries = asyncio.run(Log(place.store, place.resolved.prefix).read())
    found = [entry for entry in entries if isinstance(entry, Usage)]
    assert isinstance(entries[0], Usage)
    # What the export and the golden rows have cost comes after the end.
    assert [type(entry) for entry in entries if not isinstance(entry, Usage)][-3:] == [End, Common, Common]
    assert {usage.most for usage in found} == {3}
    assert max(usage.peak for usage in found) == 3
    busy = sum(
        mean * min(usage.every, usage.seconds - index * usage.every)
        for usage in found
        for index, mean in enumerate(usage.calls)
    )
    seconds = sum(usage.seconds for usage in found)
    assert 0 < busy <= 3 * seconds + 0.1
    assert search.over is not None


def test_a_search_that_is_interrupted_notes_its_calls_and_one_that_has_ended_notes_none_again(
    tmp_path: Path,
) -> None:
    place = make_search_place(tmp_path, tiny_job(**TEMPLATE))
    job = iris_search()

    async def interrupted() -> None:
        runner = runner_of(place, job, Functions(place.store, 0, {}))
        task = asyncio.create_task(runner.run())
        while runner.calls.in_flight == 0:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait({task})

    virtual_loop.run(interrupted())
    log = Log(place.store, place.resolved.prefix)
    (*_, last) = asyncio.run(log.read())
    assert isinstance(last, Usage)
    assert last.peak > 0
    searching = Searching(place, job)
    searching.run()
    records = asyncio.run(_count(place))
    searching.run()
    assert asyncio.run(_count(place)) == records


async def _count(place: Place) -> int:
    log = Log(place.store, place.resolved.prefix)
    await log.read()
    return log.count
