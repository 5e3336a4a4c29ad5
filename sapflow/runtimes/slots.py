"""A limit on concurrent calls: a semaphore whose waiters are served in order, urgent ones first.

Jobs that share it take turns, so that one with many workers does not keep the others waiting for all of them.
"""

import asyncio
from collections import OrderedDict, deque


class Slots:
    """A semaphore for `count` holders. Urgent waiters are served before others; in each class the jobs take turns, and
    each job's waiters are served in order."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"count is {count}: at least one call must be able to run")
        self.count = count
        self._free = count
        self._urgent, self._ordinary = _Line(), _Line()

    async def acquire(self, *, urgent: bool, job: str = "") -> None:
        """Wait for a slot. `job`: whose call it is, where several jobs share the slots."""
        if self._free > 0:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        line = self._urgent if urgent else self._ordinary
        line.append(job, waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # The waiter got a slot and was cancelled in the same loop iteration, so the slot is passed on.
                self.release()
            else:
                line.remove(job, waiter)
            raise

    def release(self) -> None:
        for line in (self._urgent, self._ordinary):
            while (waiter := line.pop()) is not None:
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._free += 1


class _Line:
    """Waiters, of one job after another."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def append(self, job: str, waiter: asyncio.Future[None]) -> None:
        self._jobs.setdefault(job, deque()).append(waiter)

    def pop(self) -> asyncio.Future[None] | None:
        """The next waiter, whose job then is the last to have another turn; None where nobody waits."""
        if not self._jobs:
            return None
        job, waiters = next(iter(self._jobs.items()))
        waiter = waiters.popleft()
        self._jobs.move_to_end(job)
        if not waiters:
            del self._jobs[job]
        return waiter

    def remove(self, job: str, waiter: asyncio.Future[None]) -> None:
        waiters = self._jobs.get(job)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._jobs[job]
