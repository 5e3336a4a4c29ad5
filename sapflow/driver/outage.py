"""How long a job waits for a store that does not give what its next commit needs, and what tells that it lost a job."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from sapflow.errors import CorruptObject, JobFailed, ObjectMissing, SapflowError, StoreError
from sapflow.objects import keys
from sapflow.records.commits import Commit, Records
from sapflow.steps.observer import Observer

log = logging.getLogger(__name__)
T = TypeVar("T")

LOST_OBJECTS = {ObjectMissing.reason: 30.0, CorruptObject.reason: 30.0}
"""Patience with a store that seems to have lost objects, as may happen while it starts."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 5.0


class Outage(Observer):
    """Measures how long the store has prevented the next commit, and knows which versions it has had."""

    def __init__(self, patience: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        """`patience` has seconds without a commit, by the reasons that are worth waiting."""
        self._patience, self._clock = patience, clock
        self._since: float | None = None
        self._pause = FIRST_PAUSE
        self._newest: int | None = None

    def resumed(self, commit: Commit) -> None:
        self.expect(commit.version)

    def committed(self, commit: Commit) -> None:
        self._since, self._pause = None, FIRST_PAUSE
        self.expect(commit.version)

    def expect(self, version: int) -> None:
        """Take in that a version was committed, by whomever."""
        self._newest = version if self._newest is None else max(self._newest, version)

    async def check(self, records: Records) -> None:
        """Raises ObjectMissing if the store has no version 0 although one is known to have been committed.

        Without this, a job whose store has lost everything would begin anew, as if nothing had been spent. A store
        that has lost its last commits alone, as MinIO may when it is killed, is no loss: they are made again.
        """
        if self._newest is None or await records.commit(0) is not None:
            return
        raise ObjectMissing(
            f"{keys.commit(records.prefix, 0)} is gone from the store although version {self._newest} was committed: "
            "somebody has removed objects of this job, or the store has lost them; put them back, or start the job anew"
        )

    def pause_after(self, error: SapflowError) -> float | None:
        """Seconds to wait before the next try, or None if waiting is useless or has been long enough."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if now - self._since >= self._patience.get(error.reason, 0.0):
            return None
        pause, self._pause = self._pause, min(LONGEST_PAUSE, 2 * self._pause)
        return pause


async def through_outages(
    outage: Outage,
    records: Records,
    drive: Callable[[str | None], Awaitable[T]],
    *,
    stopped: str | None = None,
    waiting: Callable[[SapflowError], None] | None = None,
) -> T:
    """What `drive` returns, which lets one driver work; another one follows while the store seems to have lost objects
    and may yet find them. Each is told why the one before has `stopped`, None where nothing is known. `waiting` is told
    what a pause is for; None: the log is.

    Raises what the last one has raised.
    """
    while True:
        try:
            await outage.check(records)
            return await drive(stopped)
        except (JobFailed, StoreError) as error:
            pause = outage.pause_after(error)
            if pause is None:
                raise
            if waiting is None:
                log.warning(
                    "the job goes on in %.0f s, in case the store finds what it has lost: %s", pause, error
                )
            else:
                waiting(error)
            stopped = error.reason
            await asyncio.sleep(pause)
