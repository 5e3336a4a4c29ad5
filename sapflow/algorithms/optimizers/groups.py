"""Groups of parameters on the flat vector: consecutive ranges, each with its own weight decay and learning rate."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Group:
    """What the parameters of one group have of their own."""

    weight_decay: float
    factor: float = 1.0
    """Of the learning rate."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """A vector's consecutive ranges, from element 0 on; a layerwise optimiser takes each range as one tensor.

    `ranges` are (stop, index of the group in `groups`), with stops that grow.
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
        """Elements of the vector."""
        return self.ranges[-1][0] if self.ranges else 0

    def between(self, start: int, stop: int) -> "Grouping":
        """The grouping of elements `start` to `stop`, counted from `start`; what is not there is left out."""
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
