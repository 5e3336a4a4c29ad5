"""Order statistics of whole columns, exactly, in a few passes and in bounded memory.

A float64 is mapped to a uint64 of the same order, so that the values of a column lie on a line of 2^64 points. The
first pass counts them in cells of the whole line. From then on, only the intervals are counted in which a sought rank
lies, each cut into cells again. Where the intervals have few different values these are counted themselves, and the
search is over: of a column with few different values after one pass, of most others after two or three. Cells become
narrower by at least `_LEAST_BITS` bits with each pass, so every search ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.preparation.record import Record

_LEAST_BITS = 6
"""Each interval is cut into 2^6 cells at least, however many there are."""
_SIGN = np.uint64(1 << 63)


def keys_of(values: np.ndarray) -> np.ndarray:
    """uint64 [n] in the order of float64 [n] without NaN; 0 and -0 are the same."""
    bits = (values + 0.0).view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def values_of(keys: np.ndarray) -> np.ndarray:
    """float64 [n]: the values that `keys_of` has made keys of."""
    bits = np.where(keys & _SIGN, keys ^ _SIGN, ~keys)
    return bits.view(np.float64)


@dataclass(frozen=True, slots=True)
class Cells:
    """How many keys lie in each cell. A cell is 2^`width` keys wide and named by the first."""

    begins: np.ndarray
    """uint64 [m], increasing."""
    rows: np.ndarray
    """int64 [m], all above 0."""
    width: int
    """0: each cell is one key."""

    def wider(self, width: int) -> "Cells":
        """The same keys in cells of 2^`width` or wider."""
        if width <= self.width:
            return self
        return _summed(_floored(self.begins, width), self.rows, width)

    def record(self) -> Record:
        """The cells as a record."""
        return Record({"width": self.width}, {"begins": self.begins, "rows": self.rows})

    @classmethod
    def of_record(cls, record: Record) -> "Cells":
        """The cells that `record` was made from."""
        return cls(record.arrays["begins"], record.arrays["rows"], record.notes["width"])


def _floored(keys: np.ndarray, width: int) -> np.ndarray:
    return (keys >> np.uint64(width)) << np.uint64(width)


def _summed(begins: np.ndarray, rows: np.ndarray, width: int) -> Cells:
    found, places = np.unique(begins, return_inverse=True)
    summed = np.zeros(len(found), np.int64)
    np.add.at(summed, places, rows)
    return Cells(found, summed, width)


@dataclass(frozen=True, slots=True)
class Search:
    """A search for the keys of some ranks, which count from 0 in increasing order of all keys.

    `begins` (uint64 [r]) is where the interval of each rank begins, `below` (int64 [r]) how many keys lie below that;
    all intervals are 2^`width` keys wide. Before the first pass there are no ranks, and one interval is the whole line.
    """

    ranks: np.ndarray
    begins: np.ndarray
    below: np.ndarray
    width: int
    bits: int
    """A pass counts about 2^bits cells, and at most twice as many different keys by themselves."""
    begun: bool = True

    @classmethod
    def start(cls, bits: int = 13) -> "Search":
        """Before the first pass."""
        zero = np.zeros(1, np.int64)
        return cls(zero, zero.astype(np.uint64), zero, 64, bits, begun=False)

    @property
    def done(self) -> bool:
        """Whether `begins` are the keys."""
        return self.begun and self.width == 0

    @property
    def _cell_width(self) -> int:
        intervals = len(np.unique(self.begins))
        bits = max(_LEAST_BITS, self.bits - (intervals - 1).bit_length())
        return max(0, self.width - bits)

    def count(self, keys: np.ndarray, before: Cells | None) -> Cells:
        """The keys within the intervals, and those counted before."""
        inside = self._inside(keys)
        if before is not None and before.width > 0:
            # It is known that there are too many different keys to count each.
            return self.merge([before, self._in_cells(inside)])
        found = _counted(inside, 0)
        return self.merge([found] if before is None else [before, found])

    def merge(self, several: Sequence[Cells]) -> Cells:
        """All keys together. It is the same in any order."""
        width = max(each.width for each in several)
        wide = [each.wider(width) for each in several]
        total = wide[0]
        if len(wide) > 1:
            begins, rows = (
                np.concatenate(each) for each in zip(*((c.begins, c.rows) for c in wide), strict=True)
            )
            total = _summed(begins, rows, width)
        too_many = width == 0 and len(total.begins) > 2 << self.bits
        return total.wider(self._cell_width) if too_many else total

    def narrowed(self, total: Cells, ranks: np.ndarray | None = None) -> "Search":
        """The search after a pass. After the first one `ranks` says which are sought, each below the number of keys."""
        sought = self.ranks if ranks is None else ranks
        begins, below = np.empty(len(sought), np.uint64), np.empty(len(sought), np.int64)
        starts = np.zeros(1, np.int64).repeat(len(sought)) if ranks is not None else self.below
        intervals = np.zeros(len(sought), np.uint64) if ranks is not None else self.begins
        for begin in np.unique(intervals):
            those = intervals == begin
            first = np.searchsorted(total.begins, begin)
            start = int(starts[those][0])
            lower = start + np.concatenate([[0], np.cumsum(total.rows[first:])])[:-1]
            cells = np.searchsorted(lower, sought[those], side="right") - 1
            begins[those], below[those] = total.begins[first + cells], lower[cells]
        return Search(sought, begins, below, total.width, self.bits)

    def _in_cells(self, keys: np.ndarray) -> Cells:
        width = self._cell_width
        if self.width < 64:
            return _counted(_floored(keys, width), width)
        # Of the whole line, all cells are counted without sorting.
        rows = np.bincount((keys >> np.uint64(width)).astype(np.int64))
        cells = np.flatnonzero(rows)
        return Cells(cells.astype(np.uint64) << np.uint64(width), rows[cells], width)

    def _inside(self, keys: np.ndarray) -> np.ndarray:
        if self.width >= 64:
            return keys
        shift = np.uint64(self.width)
        prefixes, intervals = keys >> shift, np.unique(self.begins >> shift)
        if len(intervals) == 1:
            return np.asarray(keys[prefixes == intervals[0]])
        places = np.searchsorted(intervals, prefixes)
        places[places == len(intervals)] = 0
        return np.asarray(keys[intervals[places] == prefixes])

    def record(self) -> Record:
        """The search as a record."""
        arrays = {"ranks": self.ranks, "begins": self.begins, "below": self.below}
        return Record({"width": self.width, "bits": self.bits, "begun": self.begun}, arrays)

    @classmethod
    def of_record(cls, record: Record) -> "Search":
        """The search that `record` was made from."""
        arrays, notes = record.arrays, record.notes
        return cls(
            arrays["ranks"], arrays["begins"], arrays["below"], notes["width"], notes["bits"], notes["begun"]
        )


def _counted(keys: np.ndarray, width: int) -> Cells:
    begins, rows = np.unique(keys, return_counts=True)
    return Cells(begins, rows.astype(np.int64), width)
