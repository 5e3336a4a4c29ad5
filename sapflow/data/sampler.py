"""The order of samples in an epoch, and reading batches in that order. Depends on numpy alone.

An epoch permutes the blocks. Then `window` consecutive blocks at a time are taken together, and their samples are
permuted. All permutations follow from (seed, epoch). So a step reads few blocks, and any division of 0 … N−1 into
ranges reads every sample exactly once.
"""

import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from sapflow.data.chunks import Part
from sapflow.data.manifest import MAX_BLOCK_BYTES, Manifest, block_key, decode_block
from sapflow.data.read_counter import ReadCounter
from sapflow.data.shuffle import permutation
from sapflow.objects.safetensor import aligned
from sapflow.objects.stores.protocol import Store
from sapflow.tasks.registry import TASKS

WINDOW = 4
_BLOCKS, _SAMPLES = 1, 2
_KEPT_WINDOWS = 2


def steps_per_epoch(samples: int, per_step: int) -> int:
    """The number of steps that use `samples` once, `per_step` in each; the last step may have fewer."""
    return -(-samples // per_step)


def split(begin: int, end: int, workers: int) -> list[tuple[int, int]]:
    """The range of each rank: `begin` to `end` divided as evenly as possible. A rank's range may be empty."""
    count = end - begin
    return [(begin + r * count // workers, begin + (r + 1) * count // workers) for r in range(workers)]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of one block: their numbers, int64 [n]."""

    block: int
    rows: np.ndarray


@dataclass(frozen=True, slots=True)
class Location:
    """Where a range of samples lies: the rows of all pieces one after the other, permuted by `order`.

    `order` is int64 [n], or None if the rows are in the right order already.
    """

    pieces: list[Piece]
    order: np.ndarray | None


@dataclass(frozen=True, slots=True)
class _Window:
    """Blocks that are shuffled together. `order[i]` is the place of the i-th sample if the blocks are laid end to end;
    they start at `starts`."""

    blocks: np.ndarray
    starts: np.ndarray
    order: np.ndarray


class EpochOrder:
    """The order in which one epoch uses the samples of blocks that have `counts` samples each."""

    def __init__(self, counts: Sequence[int], seed: int, epoch: int, window: int = WINDOW) -> None:
        self._seed = (seed, epoch)
        self._counts = np.asarray(counts, dtype=np.int64)
        self._blocks = permutation(len(counts), seed, epoch, _BLOCKS)
        self._width = window
        ordered = [counts[block] for block in self._blocks]
        sizes = [sum(ordered[start : start + window]) for start in range(0, len(ordered), window)]
        self._starts: list[int] = [0, *accumulate(sizes)]
        self._windows: OrderedDict[int, _Window] = OrderedDict()

    def __len__(self) -> int:
        """The number of samples in the epoch."""
        return self._starts[-1]

    def locate(self, begin: int, end: int) -> Location:
        """Where samples `begin` to `end` of the epoch lie. Raises IndexError past its end."""
        if not 0 <= begin <= end <= len(self):
            raise IndexError(f"samples {begin} to {end} of an epoch of {len(self)}")
        found: list[Location] = []
        at = begin
        while at < end:
            number = bisect_right(self._starts, at) - 1
            first, stop = self._starts[number], min(end, self._starts[number + 1])
            found.append(_located(self._window(number), at - first, stop - first))
            at = stop
        return found[0] if len(found) == 1 else _joined(found)

    def _window(self, number: int) -> _Window:
        found = self._windows.get(number)
        if found is None:
            blocks = self._blocks[number * self._width : (number + 1) * self._width]
            ends = np.cumsum(self._counts[blocks])
            order = permutation(int(ends[-1]), *self._seed, _SAMPLES, number)
            found = _Window(blocks, np.concatenate(([0], ends[:-1])), order)
            while len(self._windows) >= _KEPT_WINDOWS:
                self._windows.popitem(last=False)
            self._windows[number] = found
        self._windows.move_to_end(number)
        return found


def _located(window: _Window, begin: int, end: int) -> Location:
    """Where the window's samples `begin` to `end` lie, grouped by block, so that each block is read once."""
    picked = window.order[begin:end]
    if len(window.blocks) == 1:
        return Location([Piece(int(window.blocks[0]), picked)], None)
    # For a handful of blocks, comparisons and a radix sort of bytes are several times faster than searchsorted.
    slots = np.zeros(len(picked), np.uint8)
    for start in window.starts[1:]:
        slots += picked >= start
    grouping = slots.argsort(kind="stable")
    grouped = picked[grouping]
    stops = np.bincount(slots, minlength=len(window.blocks)).cumsum().tolist()
    pieces = [
        Piece(int(block), grouped[first:stop] - start)
        for block, start, first, stop in zip(window.blocks, window.starts, [0, *stops], stops, strict=False)
        if stop > first
    ]
    order = np.empty(len(picked), np.int64)
    order[grouping] = np.arange(len(picked))
    return Location(pieces, order)


def _joined(parts: Sequence[Location]) -> Location:
    """Consecutive ranges as one."""
    pieces: list[Piece] = []
    orders: list[np.ndarray] = []
    rows = 0
    for part in parts:
        count = sum(len(piece.rows) for piece in part.pieces)
        orders.append((np.arange(count) if part.order is None else part.order) + rows)
        pieces += part.pieces
        rows += count
    return Location(pieces, np.concatenate(orders) if orders else None)


@dataclass(frozen=True, slots=True)
class _Block:
    """A decoded block: flat features [n, f], targets as stored, and its bytes in memory."""

    features: np.ndarray
    targets: np.ndarray
    size: int


class _Scratch:
    """Memory that is reused from batch to batch, because fresh pages cost more than copying rows into them."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)

    def take(self, count: int, width: int, dtype: str) -> np.ndarray:
        """An uninitialised array [count, width], valid until the next call."""
        size = count * width * np.dtype(dtype).itemsize
        if size > len(self._memory):
            self._memory = np.empty(size, np.uint8)
        return self._memory[:size].view(dtype).reshape(count, width)


class Reader:
    """Reads batches of a data set, and caches the blocks used last, up to `cache_bytes`. Not thread-safe."""

    def __init__(
        self,
        store: Store,
        prefix: str,
        manifest: Manifest,
        *,
        cache_bytes: int = 2 * WINDOW * MAX_BLOCK_BYTES,
    ) -> None:
        self._store, self._prefix, self._manifest = store, prefix, manifest
        self.counter = ReadCounter()
        """Counts what is read from the store; whoever answers a call takes the counts."""
        self._cache_bytes, self._cached_bytes = cache_bytes, 0
        self._blocks: OrderedDict[tuple[Part, int], _Block] = OrderedDict()
        self._width = int(np.prod(manifest.shape))
        self._target_type = np.dtype(TASKS[manifest.task].batched)
        self._scale = _factor(manifest.scale, neutral=1.0)
        self._shift = _factor(manifest.shift, neutral=0.0)
        self._rows, self._ordered = _Scratch(), _Scratch()
        self._validation_starts = [0, *accumulate(manifest.validation)]

    @property
    def cached_bytes(self) -> int:
        """Bytes of the blocks that are kept."""
        return self._cached_bytes

    def batch(self, order: EpochOrder, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples `begin` to `end` of the epoch, in its order.

        Features float32 [n, *shape], scaled, at an address that is a multiple of 64; targets int64 [n] of
        class numbers, or float32 [n] or [n, k] of values or labels. The caller owns both. Raises
        ObjectMissing, CorruptObject, StoreUnavailable.
        """
        return self._gather("train", order.locate(begin, end), end - begin)

    def range(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples `begin` to `end` of the validation set, as `batch` gives them. Raises as `batch` does."""
        starts = self._validation_starts
        if not 0 <= begin <= end <= starts[-1]:
            raise IndexError(f"samples {begin} to {end} of a validation set of {starts[-1]}")
        pieces: list[Piece] = []
        at = begin
        while at < end:
            block = bisect_right(starts, at) - 1
            stop = min(end, starts[block + 1])
            rows = np.arange(at - starts[block], stop - starts[block])
            pieces.append(Piece(block, rows))
            at = stop
        return self._gather("validation", Location(pieces, None), end - begin)

    def _gather(self, part: Part, where: Location, count: int) -> tuple[np.ndarray, np.ndarray]:
        stored = self._rows.take(count, self._width, self._manifest.dtype)
        found = np.empty((count, *self._manifest.target_shape), self._target_type)
        at = 0
        # mode="clip" avoids a pass that checks the row numbers, which are always within their block.
        for piece in where.pieces:
            block = self._block(part, piece.block)
            into = slice(at, at + len(piece.rows))
            if block.features.dtype == stored.dtype:
                block.features.take(piece.rows, axis=0, out=stored[into], mode="clip")
            else:
                stored[into] = block.features.take(piece.rows, axis=0, mode="clip")
            found[into] = block.targets.take(piece.rows, axis=0, mode="clip")
            at = into.stop
        if where.order is not None:
            grouped, stored = stored, self._ordered.take(count, self._width, self._manifest.dtype)
            grouped.take(where.order, axis=0, out=stored, mode="clip")
            found = found.take(where.order, axis=0, mode="clip")
        features = aligned(count * self._width).reshape(count, self._width)
        if self._scale is None:
            np.copyto(features, stored)
        else:
            np.multiply(stored, self._scale, out=features)
        if self._shift is not None:
            features += self._shift
        return features.reshape(count, *self._manifest.shape), found

    def _block(self, part: Part, index: int) -> _Block:
        found = self._blocks.get((part, index))
        if found is None:
            key = block_key(self._prefix, part, index)
            count = self._manifest.blocks(part)[index]
            started = time.perf_counter()
            buffer = self._store.read(key)
            self.counter.add(len(buffer), time.perf_counter() - started)
            features, targets = decode_block(buffer, key, self._manifest, count)
            found = _Block(features.reshape(count, self._width), targets, len(buffer))
            self._blocks[part, index] = found
            self._cached_bytes += found.size
            while self._cached_bytes > self._cache_bytes and len(self._blocks) > 1:
                _, dropped = self._blocks.popitem(last=False)
                self._cached_bytes -= dropped.size
        self._blocks.move_to_end((part, index))
        return found


def _factor(values: tuple[float, ...], *, neutral: float) -> np.ndarray | None:
    """The numbers as float32; None if they change nothing."""
    array = np.array(values, dtype=np.float32)
    return None if (array == neutral).all() else array
