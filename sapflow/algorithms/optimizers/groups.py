"""Groups of parameters on the flat vector: consecutive ranges, each with its own weight decay and learning rate."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Group:
    """The settings of a group of parameters."""

    weight_decay: float
    factor: float = 1.0
    """The factor of the learning rate."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The division of a vector into consecutive ranges. A layerwise optimiser treats each range as a tensor.

    `ranges` are (stop, index in `groups`), with increasing stops.
    """

    groups: tuple[Group, ...]
    ranges: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        stops = [0, *(stop for stop, _ in self.ranges)]
        if any(before >= after for before, after in pairwise(stops)):
            raise ValueError("the stops of parameter ranges must grow, from above 0")
        if any(not 0 <= group < len(self.groups) for _, group in self.ranges):
            raise ValueError(f"a parameter range names none of the {len(self.groups)} groups")

    @property
    def size(self) -> int:
        """The number of elements of the vector."""
        return self.ranges[-1][0] if self.ranges else 0

    def between(self, start: int, stop: int) -> "Grouping":
        """The grouping of elements `start` to `stop`, counted from `start`."""
        stop = min(stop, self.size)
        if start >= stop:
            return Grouping(self.groups, ())
        first = bisect_right(self.ranges, start, key=lambda each: each[0])
        found = []
        for end, group in self.ranges[first:]:
            found.append((min(end, stop) - start, group))
            if end >= stop:
                break
        return Grouping(self.groups, tuple(found))
