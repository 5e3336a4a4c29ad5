"""Reading batches: the samples of an order, or of the validation set, scaled. Depends on numpy alone.

A batch reads the pieces of the windows that it touches, which are then warm for the rank's next batches. Those of the
next batch can be read ahead, in a thread of their own. Where there is no room to keep a piece, a batch reads only its
own rows of it.
"""

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np

from sapflow.data.block_size import MAX_BLOCK_BYTES
from sapflow.data.chunks import Part
from sapflow.data.manifest import Manifest
from sapflow.data.order import Location, Piece, Rows
from sapflow.data.piece_cache import Key, PieceCache
from sapflow.data.piece_reader import PieceReader, Samples
from sapflow.data.read_ahead import ReadAhead
from sapflow.data.read_counter import ReadCounter
from sapflow.objects.safetensor import aligned
from sapflow.objects.stores.protocol import Store
from sapflow.tasks.registry import TASKS

FIRST_ROOM = 8 * MAX_BLOCK_BYTES
"""Bytes that a reader keeps as long as nobody has told it how much memory there is."""


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
    """Reads batches of a data set, and keeps pieces of blocks, up to `cache_bytes`. For one thread."""

    def __init__(
        self, store: Store, prefix: str, manifest: Manifest, *, cache_bytes: int = FIRST_ROOM
    ) -> None:
        self._manifest = manifest
        self.counter = ReadCounter()
        """Counts what is read from the store; whoever answers a call takes the counts."""
        self._pieces = PieceReader(store, prefix, manifest, self.counter)
        self._cache = PieceCache(cache_bytes)
        self._lock = threading.Lock()
        self._ahead = ReadAhead(self._read_ahead)
        self._last_validation: tuple[Key, Samples] | None = None
        self._width = int(np.prod(manifest.shape))
        self._target_type = np.dtype(TASKS[manifest.task].batched)
        self._scale = _factor(manifest.scale, neutral=1.0)
        self._shift = _factor(manifest.shift, neutral=0.0)
        self._rows, self._ordered = _Scratch(), _Scratch()
        self._validation_starts = [0, *accumulate(manifest.validation)]

    @property
    def cached_bytes(self) -> int:
        """Bytes of the pieces that are kept."""
        return self._cache.bytes

    @property
    def room(self) -> int:
        """Bytes of pieces that may be kept."""
        return self._cache.room

    @property
    def most_cached_bytes(self) -> int:
        """The most bytes of pieces that were kept at once."""
        return self._cache.most

    @property
    def lacks_room(self) -> bool:
        """Whether pieces were given up or read for one batch only, for lack of room, since the room was last set."""
        return self._cache.lacking

    def keep_up_to(self, cache_bytes: int) -> None:
        """From now on, keep so many bytes of pieces."""
        with self._lock:
            self._cache.room, self._cache.lacking = cache_bytes, False

    def serve(self, rank: int, now: Iterable[Piece], ahead: Iterable[Piece] = ()) -> None:
        """The batches that follow are those of `rank`: `now` are the pieces of its window, which stay warm for its next
        batches, and `ahead` those that it needs in its next call."""
        with self._lock:
            self._cache.serve(rank, now, ahead)

    def batch(self, where: Location) -> tuple[np.ndarray, np.ndarray]:
        """The training samples of a location, in its order.

        Features float32 [n, *shape], scaled, at an address that is a multiple of 64; targets int64 [n] of
        class numbers, or float32 [n] or [n, k] of values or labels. The caller owns both. Raises
        ObjectMissing, CorruptObject, StoreUnavailable.
        """
        return self._gather("train", where)

    def range(self, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Samples `begin` to `end` of the validation set, as `batch` gives them. Raises as `batch` does."""
        starts = self._validation_starts
        if not 0 <= begin <= end <= starts[-1]:
            raise IndexError(f"samples {begin} to {end} of a validation set of {starts[-1]}")
        rows: list[Rows] = []
        at = begin
        while at < end:
            block = bisect_right(starts, at) - 1
            stop = min(end, starts[block + 1])
            piece = Piece(block, 0, self._manifest.validation[block])
            rows.append(Rows(piece, np.arange(at - starts[block], stop - starts[block])))
            at = stop
        return self._gather("validation", Location(rows, None))

    def read_ahead(self, pieces: Sequence[Piece]) -> None:
        """Begin to read pieces that are not kept, in a thread, as far as there is room for them."""
        with self._lock:
            wanted = [piece for piece in pieces if self._cache.get(("train", piece)) is None]
        self._ahead.add(wanted)

    def stop_reading_ahead(self) -> None:
        """Read no further piece ahead, and wait for the one under way."""
        self._ahead.stop()

    def wait_for_reads(self) -> None:
        """Wait until nothing is left to be read ahead."""
        self._ahead.join()

    def _read_ahead(self, piece: Piece) -> None:
        """Read one piece in the thread of the read-ahead, if there is room for it."""
        with self._lock:
            if not self._cache.has_room(self._pieces.size(piece)):
                return
        samples = self._read("train", piece)
        with self._lock:
            self._cache.put_ahead(("train", piece), samples)

    def _gather(self, part: Part, where: Location) -> tuple[np.ndarray, np.ndarray]:
        count = where.samples
        stored = self._rows.take(count, self._width, self._manifest.dtype)
        found = np.empty((count, *self._manifest.target_shape), self._target_type)
        at = 0
        # mode="clip" avoids a pass that checks the row numbers, which are always within their piece.
        for rows in where.rows:
            samples, numbers = self._having(part, rows)
            into = slice(at, at + len(numbers))
            if samples.features.dtype == stored.dtype:
                samples.features.take(numbers, axis=0, out=stored[into], mode="clip")
            else:
                stored[into] = samples.features.take(numbers, axis=0, mode="clip")
            found[into] = samples.targets.take(numbers, axis=0, mode="clip")
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

    def _having(self, part: Part, rows: Rows) -> tuple[Samples, np.ndarray]:
        """Samples among which the rows are, and their numbers there: a piece, or these rows alone if the piece could
        not be kept."""
        if part == "train":
            piece, key = rows.piece, (part, rows.piece)
            self._ahead.settle(piece)
            with self._lock:
                known = self._cache.get(key) is not None or bool(self._cache.overlapping(key))
                alone = not known and not self._cache.would_keep(self._pieces.size(piece))
            some = self._pieces.read_some(part, piece, rows.numbers) if alone else None
            if some is not None:
                with self._lock:
                    self._cache.lacking = True
                return some, np.arange(len(rows.numbers))
        return self._samples(part, rows.piece), rows.numbers

    def _samples(self, part: Part, piece: Piece) -> Samples:
        key: Key = (part, piece)
        if part == "train":
            self._ahead.settle(piece)
        with self._lock:
            found = self._cache.get(key)
        if found is None and self._last_validation is not None and self._last_validation[0] == key:
            found = self._last_validation[1]
        if found is None:
            found = self._read(part, piece)
            with self._lock:
                if part == "train":
                    self._cache.put(key, found)
                else:
                    self._cache.put_beside(key, found)
                    self._last_validation = (key, found)
        return found

    def _read(self, part: Part, piece: Piece) -> Samples:
        """The rows of a piece: those that are kept under other pieces are copied, the others come from the store."""
        with self._lock:
            kept = self._cache.overlapping((part, piece))
        found: list[Samples] = []
        at = piece.first
        for other, samples in kept:
            if at < other.first:
                found.append(self._pieces.read(part, Piece(piece.block, at, other.first)))
            first, stop = max(at, other.first), min(piece.stop, other.stop)
            if first < stop:
                found.append(samples.rows(first - other.first, stop - other.first))
                at = stop
        if at < piece.stop:
            found.append(self._pieces.read(part, Piece(piece.block, at, piece.stop)))
        return found[0] if len(found) == 1 and not kept else Samples.joined(found)


def _factor(values: tuple[float, ...], *, neutral: float) -> np.ndarray | None:
    """The numbers as float32; None if they change nothing."""
    array = np.array(values, dtype=np.float32)
    return None if (array == neutral).all() else array
