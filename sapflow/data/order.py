"""The order in which the ranks of an epoch take its samples. Depends on numpy alone.

An epoch permutes the blocks and lays them end to end. A range of that is cut at the blocks' boundaries into pieces.
Then a window of consecutive pieces at a time is taken together, and its samples are permuted. All permutations follow
from (seed, epoch), and those of samples also from where the window begins. So a step reads few pieces, and of a block
only the rows that are the rank's own.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from sapflow.data.dealing import Share
from sapflow.data.shuffle import permutation

_BLOCKS, _SAMPLES = 1, 2
_KEPT_EPOCHS = 3
_KEPT_RANGES = 256
_KEPT_BYTES = 16 << 20
"""What the permutations of windows that are kept may take; the two used last are kept in any case."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `first` to `stop` of one block."""

    block: int
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a piece: their numbers, int64 [n], counted from the piece's first row."""

    piece: Piece
    numbers: np.ndarray


@dataclass(frozen=True, slots=True)
class Location:
    """Where some samples lie: the rows of all pieces one after the other, permuted by `order`.

    `order` is int64 [n], or None if the rows are in the right order already.
    """

    rows: list[Rows]
    order: np.ndarray | None

    @property
    def samples(self) -> int:
        return sum(len(each.numbers) for each in self.rows)


class Blocks:
    """The blocks of one epoch, permuted and laid end to end."""

    def __init__(self, counts: Sequence[int], seed: int, epoch: int) -> None:
        """`counts` is the number of samples of each block."""
        self.order: list[int] = permutation(len(counts), seed, epoch, _BLOCKS).tolist()
        self._starts: list[int] = [0, *accumulate(counts[block] for block in self.order)]

    def __len__(self) -> int:
        """The number of samples in the epoch."""
        return self._starts[-1]

    def pieces(self, first: int, stop: int) -> list[Piece]:
        """The samples from `first` to `stop`, cut at the blocks' boundaries. Raises IndexError past the end."""
        if not 0 <= first <= stop <= len(self):
            raise IndexError(f"samples {first} to {stop} of an epoch of {len(self)}")
        found = []
        index = bisect_right(self._starts, first) - 1
        while first < stop:
            start, end = self._starts[index], min(stop, self._starts[index + 1])
            if end > first:
                found.append(Piece(self.order[index], first - start, end - start))
            first, index = max(first, end), index + 1
        return found


@dataclass(frozen=True, slots=True)
class _Window:
    """Pieces whose samples are mixed. `order[i]` is the place of the i-th sample if the pieces are laid end to end;
    they start at `starts`."""

    pieces: list[Piece]
    starts: list[int]
    order: np.ndarray


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of an epoch: its pieces, and the first place of each window."""

    pieces: list[Piece]
    starts: list[int]


class Orders:
    """The orders of a data set's epochs. What was used last is kept, within bounds."""

    def __init__(self, counts: Sequence[int], seed: int, *, fixed: bool = False) -> None:
        """`counts` is the number of samples of each training block. `fixed`: all epochs keep the blocks' order of
        epoch 0, so that a range has the same samples in each; they are mixed anew all the same."""
        self._counts, self._seed, self._fixed = counts, seed, fixed
        self._blocks: OrderedDict[int, Blocks] = OrderedDict()
        self._ranges: OrderedDict[tuple[int, int, int, int], _Range] = OrderedDict()
        self._windows: OrderedDict[tuple[int, int, int, int, int], _Window] = OrderedDict()
        self._bytes = 0

    def locate(self, epoch: int, shares: Iterable[Share]) -> Location:
        """Where the samples of `shares` lie, one share after the other. Raises IndexError past the epoch's end."""
        found = [_located(window, begin, end) for window, begin, end in self._cut(epoch, shares)]
        return found[0] if len(found) == 1 else _joined(found)

    def pieces(self, epoch: int, shares: Iterable[Share]) -> list[Piece]:
        """The pieces of all windows that `shares` touch. Does not compute where in them the samples lie."""
        found: list[Piece] = []
        for share in shares:
            kept = self._range(epoch, share)
            _check(share, kept)
            low, high = _windows(kept, share)
            found += kept.pieces[low * share.window : high * share.window]
        return found

    def _cut(self, epoch: int, shares: Iterable[Share]) -> list[tuple[_Window, int, int]]:
        """The windows of `shares`, with the places that are meant in each."""
        found = []
        for share in shares:
            kept = self._range(epoch, share)
            _check(share, kept)
            for number in range(*_windows(kept, share)):
                start = kept.starts[number]
                begin, end = max(share.begin, start), min(share.end, kept.starts[number + 1])
                if end > begin:
                    found.append((self._window(epoch, share, kept, number), begin - start, end - start))
        return found

    def _range(self, epoch: int, share: Share) -> _Range:
        dealt = 0 if self._fixed else epoch
        key = (dealt, share.first, share.stop, share.window)
        found = self._ranges.get(key)
        if found is None:
            if dealt not in self._blocks:
                self._blocks[dealt] = Blocks(self._counts, self._seed, dealt)
                while len(self._blocks) > _KEPT_EPOCHS:
                    self._blocks.popitem(last=False)
            pieces = self._blocks[dealt].pieces(share.first, share.stop)
            sizes = [
                sum(piece.stop - piece.first for piece in pieces[at : at + share.window])
                for at in range(0, len(pieces), share.window)
            ]
            found = self._ranges[key] = _Range(pieces, [0, *accumulate(sizes)])
            while len(self._ranges) > _KEPT_RANGES:
                self._ranges.popitem(last=False)
        self._ranges.move_to_end(key)
        return found

    def _window(self, epoch: int, share: Share, kept: _Range, number: int) -> _Window:
        key = (epoch, share.first, share.stop, share.window, number)
        found = self._windows.get(key)
        if found is None:
            pieces = kept.pieces[number * share.window : (number + 1) * share.window]
            starts = [0, *accumulate(piece.stop - piece.first for piece in pieces)]
            place = share.first + kept.starts[number]
            order = permutation(starts.pop(), self._seed, epoch, _SAMPLES, place)
            found = self._windows[key] = _Window(pieces, starts, order)
            self._bytes += order.nbytes
            while self._bytes > _KEPT_BYTES and len(self._windows) > 2:
                self._bytes -= self._windows.popitem(last=False)[1].order.nbytes
        self._windows.move_to_end(key)
        return found


def _check(share: Share, kept: _Range) -> None:
    if not 0 <= share.begin <= share.end <= kept.starts[-1]:
        raise IndexError(f"places {share.begin} to {share.end} of a range of {kept.starts[-1]}")


def _windows(kept: _Range, share: Share) -> tuple[int, int]:
    """The numbers of the windows that a share touches: the first, and the one after the last."""
    if not share.samples:
        return 0, 0
    return bisect_right(kept.starts, share.begin) - 1, bisect_right(kept.starts, share.end - 1)


def _located(window: _Window, begin: int, end: int) -> Location:
    """Where the window's samples `begin` to `end` lie, grouped by piece, so that each piece is looked up once."""
    picked = window.order[begin:end]
    if len(window.pieces) == 1:
        return Location([Rows(window.pieces[0], picked)], None)
    # For a handful of pieces, comparisons and a radix sort of bytes are several times faster than searchsorted.
    slots = np.zeros(len(picked), np.uint8)
    for start in window.starts[1:]:
        slots += picked >= start
    grouping = slots.argsort(kind="stable")
    grouped = picked[grouping]
    stops = np.bincount(slots, minlength=len(window.pieces)).cumsum().tolist()
    rows = [
        Rows(piece, grouped[first:stop] - start)
        for piece, start, first, stop in zip(window.pieces, window.starts, [0, *stops], stops, strict=False)
        if stop > first
    ]
    order = np.empty(len(picked), np.int64)
    order[grouping] = np.arange(len(picked))
    return Location(rows, order)


def _joined(parts: Sequence[Location]) -> Location:
    """Consecutive places as one."""
    rows: list[Rows] = []
    orders: list[np.ndarray] = []
    count = 0
    for part in parts:
        samples = part.samples
        orders.append((np.arange(samples) if part.order is None else part.order) + count)
        rows += part.rows
        count += samples
    return Location(rows, np.concatenate(orders) if orders else None)
