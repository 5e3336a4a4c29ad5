"""Which way a call of a Knative Service takes: straight to a warm instance, or through the activator.

The activator does not see calls that go straight to instances, so it would send its own to instances at work. All calls
of a service that are under way at one time therefore take the same way. Where more calls are made at once than
instances are ready, it is the activator's for a while, because only calls that wait there make Knative start more.
Where it starts none, calls wait here for the instances that there are.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

Addresses = Callable[[], Sequence[str]]
"""Returns `host:port` of the instances that are ready now, for the revision that gets new calls."""

_BURSTS = 8
"""So many bursts of calls are looked back at for the number of instances that are needed at once."""
_LONG = 64
"""After so many calls without a pause, calls wait until none is under way if the other way is better by now: an
asynchronous job never pauses."""
GROWTH_SECONDS = 10.0
"""How long Knative gets to start one more instance."""
RETRY_SECONDS = 120.0
"""How long it is asked for no more after it has started none."""


class WarmPods:
    """The ready instances of a service, which of them are at work, and which rank each of them served last."""

    def __init__(self, addresses: Addresses, clock: Callable[[], float] = time.monotonic) -> None:
        self._addresses, self._clock = addresses, clock
        self._busy: set[str] = set()
        self._through = 0
        """Calls under way through the activator."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._direct = self._draining = False
        self._calls = 0
        """Calls since the way was last chosen."""
        self._peaks: deque[int] = deque([1], maxlen=_BURSTS)
        """The most calls at once, in each of the last bursts."""
        self._most = 0
        self._asked_since = clock()
        """Since when Knative is asked for more instances than the `_most` that were ready."""
        self._dropped: set[str] = set()
        self._served: dict[str, int] = {}
        """The rank that an instance served last."""

    async def enter(self, rank: int | None = None) -> str | None:
        """Take a way: the address of a free instance, or None for the activator's. Each is given back with `leave`.

        An instance that served the same rank last is preferred, because it may still have the rank's data.
        """
        self._note(len(self._busy) + self._through + len(self._waiting) + 1)
        while True:
            direct = self._prefers_direct()
            if not self._at_work:
                self._direct, self._draining, self._calls = direct, False, 0
            elif self._calls >= _LONG and direct != self._direct:
                self._draining = True
            if not self._draining:
                if not self._direct:
                    self._through += 1
                    self._calls += 1
                    return None
                if (free := self._free(rank)) is not None:
                    self._busy.add(free)
                    self._calls += 1
                    return free
            await self._changed()

    def leave(self, way: str | None) -> None:
        """Give back what `enter` returned."""
        if way is None:
            self._through -= 1
        else:
            self._busy.discard(way)
        if not self._at_work:
            while self._waiting:
                self._wake()
        elif not self._draining:
            self._wake()

    def drop(self, address: str) -> None:
        """Do not call this instance again before it has been not ready: it did not answer as a function does."""
        self._dropped.add(address)

    @property
    def _at_work(self) -> bool:
        return bool(self._busy) or self._through > 0

    def _note(self, at_once: int) -> None:
        if at_once == 1:
            self._peaks.append(1)
        self._peaks[-1] = max(self._peaks[-1], at_once)

    def _prefers_direct(self) -> bool:
        """Whether as many instances are ready as are needed, or Knative has started no more for a while."""
        ready, now = len(self._ready()), self._clock()
        grown, asked = ready > self._most, now - self._asked_since
        if grown or asked >= GROWTH_SECONDS + RETRY_SECONDS:
            self._asked_since, asked = now, 0.0
        if grown or ready >= max(self._peaks) or asked >= GROWTH_SECONDS:
            self._most = ready
        return ready >= max(self._peaks) or (ready > 0 and asked >= GROWTH_SECONDS)

    def _ready(self) -> list[str]:
        listed = self._addresses()
        self._dropped.intersection_update(listed)
        return [address for address in listed if address not in self._dropped]

    def _free(self, rank: int | None) -> str | None:
        ready = self._ready()
        self._served = {address: served for address, served in self._served.items() if address in ready}
        free = [address for address in ready if address not in self._busy]
        if not free:
            return None
        if rank is None:
            return free[0]
        chosen = min(free, key=lambda address: _preference(self._served.get(address), rank))
        self._served[chosen] = rank
        return chosen

    async def _changed(self) -> None:
        """Wait until an instance is free, or no call is under way."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.done() and not waiter.cancelled():
                # It was this one's turn; it is another's now.
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


def _preference(served: int | None, rank: int) -> int:
    """0 for the instance of this rank, 1 for one that no rank has used, 2 for that of another rank."""
    if served == rank:
        return 0
    return 1 if served is None else 2
