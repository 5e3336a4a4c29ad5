"""How many calls of a search are in flight over time, as its log records it. A measurement: nothing follows from it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

BINS = 64
"""The most bins of one measurement; if more were needed, each two become one."""
_FIRST_WIDTH = 0.25
SECONDS_BETWEEN = 1.0
"""A record that is written sooner after a measurement has none of its own. So the time of an entry is that of the last
measurement before it, or less than this later."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls in flight since the measurement before, or since the driver began, in bins of equal width."""

    ends: float
    """Seconds since 1970 when it ends, by the driver's clock."""
    seconds: float
    """How long it is."""
    every: float
    """Seconds of a bin; the last one may be shorter."""
    calls: tuple[float, ...]
    """Mean number of calls in flight of each bin."""
    peak: int
    """The most calls at one moment."""
    most: int
    """The limit on calls, `maxWorkers`, at the end."""


class UsageMeter:
    """Counts calls in flight over time. What it keeps does not grow with time."""

    def __init__(
        self,
        most: int,
        clock: Callable[[], float] | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`most` is the limit on calls. `clock` measures durations, by default as the running event loop does;
        `wall_clock` tells the date."""
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._wall_clock = wall_clock
        self._calls, self._most = 0, most
        self._taken: float | None = None
        self._begin(None)

    def _begin(self, now: float | None) -> None:
        self._began = self._at = now
        self._width = _FIRST_WIDTH
        self._sums: list[float] = []
        self._peak = self._calls

    def changed(self, calls: int, most: int) -> None:
        """From now on `calls` calls are in flight, of `most` that may be."""
        self._advance(self._clock())
        self._calls, self._most = calls, most
        self._peak = max(self._peak, calls)

    @property
    def busy(self) -> bool:
        """Whether a call was in flight since the last measurement."""
        return self._peak > 0

    def take(self, *, always: bool = False) -> Usage | None:
        """The measurement since the last one, and begin the next; None if the last one was less than SECONDS_BETWEEN
        ago, unless `always`."""
        now = self._clock()
        if not always and self._taken is not None and now - self._taken < SECONDS_BETWEEN:
            return None
        self._advance(now)
        assert self._began is not None
        seconds, width = now - self._began, self._width
        means = [
            total / min(width, max(seconds - index * width, 1e-9)) for index, total in enumerate(self._sums)
        ]
        usage = Usage(
            round(self._wall_clock(), 3),
            round(seconds, 3),
            width,
            tuple(round(each, 2) for each in means),
            self._peak,
            self._most,
        )
        self._taken = now
        self._begin(now)
        return usage

    def _advance(self, now: float) -> None:
        if self._began is None or self._at is None:
            self._begin(now)
            return
        while now - self._began > BINS * self._width:
            self._sums = [sum(self._sums[index : index + 2]) for index in range(0, len(self._sums), 2)]
            self._width *= 2
        while self._at < now:
            index = int((self._at - self._began) / self._width)
            until = min(now, self._began + (index + 1) * self._width)
            if until <= self._at:
                index, until = index + 1, min(now, self._began + (index + 2) * self._width)
            self._sums += [0.0] * (index + 1 - len(self._sums))
            self._sums[index] += self._calls * (until - self._at)
            self._at = until
