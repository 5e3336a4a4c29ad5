"""How long a job has run is known although its drivers died, and what is under way ends at a deadline."""

import asyncio
import time

import pytest
from helpers import virtual_loop

from sapflow.driver import deadline as module
from sapflow.driver.deadline import Deadline, DeadlineReached, within
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Account, Records

PREFIX = keys.job("u")


def known(store: Store, limit: int | None = 100, seconds: float = 0.0) -> float:
    """The seconds that a driver starts with, whose last commit tells of so many."""

    async def ask() -> float:
        deadline = Deadline(Records(store, PREFIX), limit, None)
        return (await deadline.account(Account(seconds=seconds))).seconds

    return asyncio.run(ask())


def lives(store: Store, until: float, *, killed: bool = False, limit: int | None = 100) -> None:
    """A driver that begins with what is known and ends, or is killed, after so many virtual seconds."""

    async def live() -> None:
        deadline = Deadline(Records(store, PREFIX), limit, None)
        account = await deadline.account(Account())
        began = asyncio.get_running_loop().time()
        deadline.start(lambda: account.seconds + asyncio.get_running_loop().time() - began)
        await asyncio.sleep(until)
        if killed and deadline._task is not None:
            deadline._task.cancel()
        else:
            await deadline.stop()

    virtual_loop.run(live())


def test_what_is_under_way_ends_at_the_deadline_and_other_timeouts_are_not_it() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def times_out() -> None:
        raise TimeoutError("mine")

    async def done() -> int:
        return 7

    async def scenario() -> None:
        assert await within(None, done()) == await within(5.0, done()) == 7
        with pytest.raises(DeadlineReached):
            await within(5.0, forever())
        with pytest.raises(DeadlineReached):
            await within(-5.0, forever())
        with pytest.raises(TimeoutError, match="mine"):
            await within(5.0, times_out())

    virtual_loop.run(scenario())


def test_the_seconds_of_a_driver_without_a_commit_count_for_the_next(directory_store: Store) -> None:
    lives(directory_store, 40.0)
    assert known(directory_store) == 40.0
    lives(directory_store, 2.5)
    assert known(directory_store) == 42.5
    assert known(directory_store, seconds=90.0) == 90.0
    assert known(directory_store, limit=None) == 0.0


def test_a_driver_that_is_killed_loses_few_seconds_and_a_short_life_is_not_lost(
    directory_store: Store,
) -> None:
    lives(directory_store, 40.0, killed=True)
    assert 40.0 - module.MOST_SECONDS <= known(directory_store) <= 40.0
    before = known(directory_store)
    for _ in range(10):
        lives(directory_store, 3.5, killed=True)
    assert known(directory_store) >= before + 10 * 1.5


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"seconds": "x"}', None])
def test_one_record_is_whole_whenever_a_driver_died(directory_store: Store, left: bytes | None) -> None:
    lives(directory_store, 40.0)
    for slot in (0, 1):
        key = keys.running_time(PREFIX, slot)
        kept = bytes(directory_store.read(key))
        directory_store.delete([key])
        if left is not None:
            directory_store.create(key, left)
        assert known(directory_store) >= 40.0 - module.MOST_SECONDS
        directory_store.delete([key])
        directory_store.create(key, kept)


def test_two_records_however_long_a_job_runs_and_none_without_a_deadline(directory_store: Store) -> None:
    lives(directory_store, 40.0, limit=None)
    assert [*directory_store.list(PREFIX)] == []
    lives(directory_store, 10_000.0)
    assert len([*directory_store.list(PREFIX)]) == 2


def test_a_time_at_which_the_job_must_have_ended_counts_too(directory_store: Store) -> None:
    records = Records(directory_store, PREFIX)
    left = Deadline(records, 100, time.time() + 30).left
    assert left is not None
    assert left <= 30
    assert Deadline(records, None, time.time()).left is None
    assert Deadline(records, 100, None).left == 100
