"""How many calls may be at work at once: a counter whose waiters queue in order, urgent ones first."""

import asyncio
from collections import deque


class Slots:
    """At most `count` holders. Within a class waiters are served in order; urgent ones go first."""

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
                # Handed a slot and cancelled in the same turn of the loop: pass it on.
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
