"""Long sequences of which a bounded number of items stay, whatever their length. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

KEEP_ALL = 1_000
"""A sequence of at most so many items stays whole."""
BINS = 120
"""A longer one is cut into so many bins of equal length."""
BARS = 60
"""The most bars of a chart."""


@dataclass(slots=True)
class _Bin(Generic[T]):
    """The items of one bin that stay, by the place of each in the sequence, and the places of the extremes."""

    kept: dict[int, T]
    lowest: dict[str, tuple[float, int]]
    highest: dict[str, tuple[float, int]]


class Extremes(Generic[T]):
    """Keeps the first and the last item, and of each bin those with the lowest and the highest value of each figure."""

    def __init__(self, length: int, *, keep_all: int = KEEP_ALL) -> None:
        """`length` is the number of items that will be added, at most; all of them stay if it is at most `keep_all`."""
        self._length, self._keeps_all = length, length <= keep_all
        self._count = 0
        self._kept: dict[int, T] = {}
        self._bin, self._now = -1, _Bin[T]({}, {}, {})
        self._last: tuple[int, T] | None = None

    def add(self, item: T, figures: Mapping[str, float]) -> None:
        """Add the next item; `figures` are those that a chart draws of it."""
        place, self._count = self._count, self._count + 1
        self._last = (place, item)
        if self._keeps_all or place == 0:
            self._kept[place] = item
            return
        number = place * BINS // self._length
        if number != self._bin:
            self._kept |= self._now.kept
            self._bin, self._now = number, _Bin({}, {}, {})
        self._take(place, item, figures)

    def _take(self, place: int, item: T, figures: Mapping[str, float]) -> None:
        now = self._now
        for name, value in figures.items():
            if name not in now.lowest or value < now.lowest[name][0]:
                now.lowest[name] = (value, place)
            if name not in now.highest or value > now.highest[name][0]:
                now.highest[name] = (value, place)
        now.kept[place] = item
        wanted = {place for ends in (now.lowest, now.highest) for _, place in ends.values()}
        now.kept = {place: kept for place, kept in now.kept.items() if place in wanted}

    @property
    def items(self) -> list[T]:
        """What stays, in order."""
        last = dict([self._last]) if self._last is not None else {}
        found = self._kept | self._now.kept | last
        return [found[place] for place in sorted(found)]


class Sample(Generic[T]):
    """Keeps every item, later every second, fourth, …: half of `KEEP_ALL` at least, if there were so many."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self._count, self._every = 0, 1

    def add(self, item: T) -> None:
        if self._count % self._every == 0:
            self.items.append(item)
        self._count += 1
        if len(self.items) > KEEP_ALL:
            self.items = self.items[::2]
            self._every *= 2


class Bars:
    """Bars of parts, each the mean of equally many neighbouring columns where there are too many columns."""

    def __init__(self, length: int) -> None:
        """`length` is the number of columns that will be added."""
        self._length, self._bars = length, min(length, BARS)
        self._ends = [round((index + 1) * length / self._bars) for index in range(self._bars)]
        self._count = 0
        self._found: list[tuple[float, float, int, dict[str, float]]] = []

    def add(self, position: float, heights: Mapping[str, float]) -> None:
        """Add the next column."""
        if not self._found or self._count == self._ends[len(self._found) - 1]:
            self._found.append((position, position, 0, {}))
        begin, _, number, sums = self._found[-1]
        for name, height in heights.items():
            sums[name] = sums.get(name, 0.0) + height
        self._found[-1] = (begin, position, number + 1, sums)
        self._count += 1

    @property
    def means(self) -> list[tuple[float, float, dict[str, float]]]:
        """(begin, end, mean heights) of each bar."""
        return [
            (begin, last + 1, {name: total / number for name, total in sums.items()})
            for begin, last, number, sums in self._found
        ]

    @classmethod
    def of(cls, columns: Sequence[tuple[float, Mapping[str, float]]]) -> "Bars":
        bars = cls(len(columns))
        for position, heights in columns:
            bars.add(position, heights)
        return bars
