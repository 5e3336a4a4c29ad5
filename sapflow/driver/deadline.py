"""Ends a job at its deadline, also within a step that never ends, and remembers how long the job has run.

Commits tell nothing of the time that passes until a driver dies within a step. So a job with a deadline has a record of
its running time beside its commits, replaced every few seconds: two objects in turn, so that one is always whole.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from sapflow.errors import CorruptObject, SapflowError, StoreError
from sapflow.objects import keys
from sapflow.records.commits import Account, Records

FIRST_SECONDS, MOST_SECONDS = 1.0, 15.0
"""Seconds until the first record, and the most between two. They double: a driver that dies soon loses half at most."""
LEAST_SECONDS = 10.0
"""Seconds that a job gets to make version 0, even after its deadline: without it there would be no checkpoint."""
T = TypeVar("T")


class DeadlineReached(SapflowError):
    """A job's deadline has come while it was at work."""

    reason = "DeadlineExceeded"


async def within(seconds: float | None, work: Awaitable[T]) -> T:
    """Wait for `work`, which is cancelled after so many seconds (None: never). Raises DeadlineReached then."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineReached("the deadline is reached") from None


class Deadline:
    """The deadline of one job. `stop` must be called at the end."""

    def __init__(
        self, records: Records, limit: int | None, ends: float | None, *, remembers: bool = False
    ) -> None:
        """`limit` is the most seconds that the job may run, `ends` the time (`time.time()`) when it must have ended.
        `remembers`: the running time is recorded without a limit, too."""
        self._remembers = remembers or limit is not None
        self._records, self._limit, self._ends = records, limit, ends
        self._spent: Callable[[], float] = lambda: 0.0
        self._slot = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def left(self) -> float | None:
        """The seconds that are left, negative after the deadline; None if there is none."""
        if self._limit is None:
            return None
        left = self._limit - self._spent()
        return left if self._ends is None else min(left, self._ends - time.time())

    async def account(self, known: Account) -> Account:
        """What the job has consumed, with the seconds of drivers since the last commit. Raises StoreError."""
        if not self._remembers:
            return known
        recorded = [await self._read(slot) for slot in (0, 1)]
        self._slot = recorded.index(min(recorded))
        return known.model_copy(update={"seconds": max(known.seconds, *recorded)})

    def start(self, spent: Callable[[], float]) -> None:
        """Record the running time from now on; `spent` returns it."""
        self._spent = spent
        if self._remembers:
            self._task = asyncio.create_task(self._record())

    async def stop(self) -> None:
        """Record the running time once more, and no longer."""
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        await self._write()

    async def _record(self) -> None:
        pause = FIRST_SECONDS
        while True:
            await asyncio.sleep(pause)
            await self._write()
            pause = min(MOST_SECONDS, 2 * pause)

    async def _write(self) -> None:
        key, self._slot = keys.running_time(self._records.prefix, self._slot), 1 - self._slot
        # A store that is away loses some seconds at the worst; what matters of an outage is said elsewhere.
        with suppress(StoreError):
            await asyncio.to_thread(self._records.store.delete, [key])
            await self._records.write(key, {"seconds": self._spent()})

    async def _read(self, slot: int) -> float:
        try:
            body = await self._records.read(keys.running_time(self._records.prefix, slot))
            return float(body["seconds"]) if body else 0.0
        except (CorruptObject, KeyError, TypeError, ValueError):
            # The machine may have died while this one was written; the other one is whole.
            return 0.0
