"""A limit on concurrent calls: a semaphore whose waiters are served in order, urgent ones first."""

import asyncio
from collections import deque


class Slots:
    """A semaphore for `count` holders. Urgent waiters are served before others, and each class in order."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"count is {count}: at least one call must be able to run")
        self.count = count
        self._free = count
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._ordinary: deque[asyncio.Future[None]] = deque()

    async def acquire(self, *, urgent: bool) -> None:
        if self._free > 0:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        line = self._urgent if urgent else self._ordinary
        line.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # The waiter got a slot and was cancelled in the same loop iteration, so the slot is passed on.
                self.release()
            elif waiter in line:
                line.remove(waiter)
            raise

    def release(self) -> None:
        for line in (self._urgent, self._ordinary):
            while line:
                waiter = line.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._free += 1
