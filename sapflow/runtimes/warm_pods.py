"""Which way a call of a Knative Service takes: straight to a warm instance, or through the activator.

The activator does not see calls that go straight to instances, so it would send its own to instances at work. All calls
of a service that are under way at one time therefore take the same way. The activator's way is taken where more calls
are made at once than instances are ready, because only calls that wait there make Knative start more.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

Addresses = Callable[[], Sequence[str]]
"""Returns `host:port` of the instances that are ready now, for the revision that gets new calls."""

_BURSTS = 8
"""So many bursts of calls are looked back at for the number of instances that are needed at once."""
_LONG = 64
"""After so many calls without a pause, the calls that wait at the activator are let end, to see whether the direct way
is open: an asynchronous job never pauses."""


class WarmPods:
    """The ready instances of a service, which of them are at work, and which rank each of them served last."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._busy: set[str] = set()
        self._through = 0
        """Calls under way through the activator."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._direct = self._draining = False
        self._calls = 0
        """Calls since the way was last chosen."""
        self._peaks: deque[int] = deque([1], maxlen=_BURSTS)
        """The most calls at once, in each of the last bursts."""
        self._dropped: set[str] = set()
        self._served: dict[str, int] = {}
        """The rank that an instance served last."""

    async def enter(self, rank: int | None = None) -> str | None:
        """Take a way: the address of a free instance, or None for the activator's. Each is given back with `leave`.

        An instance that served the same rank last is preferred, because it may still have the rank's data.
        """
        self._note(len(self._busy) + self._through + len(self._waiting) + 1)
        while True:
            if not self._at_work:
                self._choose()
            if not self._draining:
                if not self._direct and (self._calls < _LONG or len(self._ready()) < max(self._peaks)):
                    self._through += 1
                    self._calls += 1
                    return None
                if self._direct and (free := self._free(rank)) is not None:
                    self._busy.add(free)
                    self._calls += 1
                    return free
                self._draining = self._at_work
            if self._at_work:
                await self._changed()

    def leave(self, way: str | None) -> None:
        """Give back what `enter` returned."""
        if way is None:
            self._through -= 1
        else:
            self._busy.discard(way)
        if not self._at_work:
            while self._waiting:
                waiter = self._waiting.popleft()
                if not waiter.done():
                    waiter.set_result(None)

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

    def _choose(self) -> None:
        self._direct = len(self._ready()) >= max(self._peaks)
        self._draining, self._calls = False, 0

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
        """Wait until no call is under way."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            raise


def _preference(served: int | None, rank: int) -> int:
    """0 for the instance of this rank, 1 for one that no rank has used, 2 for that of another rank."""
    if served == rank:
        return 0
    return 1 if served is None else 2
