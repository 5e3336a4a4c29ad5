"""Reads rows of blocks: a whole block in one request, of a part only the rows that are asked for, also single ones."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sapflow.data.chunks import Part
from sapflow.data.manifest import Manifest, block_header_size, block_key, check_block, decode_block
from sapflow.data.order import Piece
from sapflow.data.read_counter import ReadCounter
from sapflow.objects import safetensor
from sapflow.objects.safetensor import Header, Tensor
from sapflow.objects.stores.protocol import Store

BESIDE = 16 << 10
"""Bytes of targets that are read in vain, at most, where that saves a request."""
REQUEST = 8 << 10
"""Bytes that take as long as one more request, about: rows that lie nearer to each other are read together."""
AT_ONCE = 8
"""Requests for single rows that are under way at once, where the store is remote."""
_KEPT_HEADERS = 4096


@dataclass(frozen=True, slots=True)
class Samples:
    """Decoded rows of a block: flat features [n, f], targets as stored, and the bytes in memory."""

    features: np.ndarray
    targets: np.ndarray
    size: int

    def rows(self, first: int, stop: int) -> "Samples":
        """Some of the rows, as views."""
        features, targets = self.features[first:stop], self.targets[first:stop]
        return Samples(features, targets, features.nbytes + targets.nbytes)

    @classmethod
    def joined(cls, parts: "Sequence[Samples]") -> "Samples":
        """Consecutive rows of one block, copied."""
        features = np.concatenate([part.features for part in parts])
        targets = np.concatenate([part.targets for part in parts])
        return cls(features, targets, features.nbytes + targets.nbytes)


def _runs(wanted: np.ndarray, row: int) -> list[tuple[int, int]]:
    """Ranges of rows that cover `wanted`, which is in order: what lies between two of them costs more than a request.
    `row` is the size of a row in bytes."""
    apart = np.flatnonzero((np.diff(wanted) - 1) * row > REQUEST) + 1
    return [(int(each[0]), int(each[-1]) + 1) for each in np.split(wanted, apart) if len(each)]


class PieceReader:
    """Reads pieces from the store. Safe to use from several threads."""

    def __init__(self, store: Store, prefix: str, manifest: Manifest, counter: ReadCounter) -> None:
        self._store, self._prefix, self._manifest, self._counter = store, prefix, manifest, counter
        self._width = int(np.prod(manifest.shape))
        self._feature_bytes = self._width * (1 if manifest.dtype == "uint8" else 4)
        self._target_bytes = 4 * int(np.prod(manifest.target_shape))
        self._headers: OrderedDict[str, Header] = OrderedDict()

    def read(self, part: Part, piece: Piece) -> Samples:
        """The rows of a piece. Raises ObjectMissing, CorruptObject, StoreUnavailable."""
        key = block_key(self._prefix, part, piece.block)
        count = self._manifest.blocks(part)[piece.block]
        rows = piece.stop - piece.first
        if rows == count:
            buffer = self._read(key)
            features, targets = decode_block(buffer, key, self._manifest, count)
            return Samples(features.reshape(count, self._width), targets, len(buffer))
        header, head = self._header(key, count, piece)
        targets = self._rows(key, header.tensors["targets"], piece, head)
        features = self._rows(key, header.tensors["features"], piece, head)
        return Samples(features.reshape(rows, self._width), targets, features.nbytes + targets.nbytes)

    def read_some(self, part: Part, piece: Piece, numbers: np.ndarray) -> Samples | None:
        """The rows `numbers` of a piece, counted from its first row, in that order; None where the whole piece costs no
        more than these rows by themselves. Raises what `read` raises."""
        wanted, places = np.unique(numbers, return_inverse=True)
        runs = {"features": _runs(wanted, self._feature_bytes), "targets": _runs(wanted, self._target_bytes)}
        rows = {name: sum(stop - first for first, stop in found) for name, found in runs.items()}
        moved = rows["features"] * self._feature_bytes + rows["targets"] * self._target_bytes
        if moved + REQUEST * sum(map(len, runs.values())) >= self.size(piece):
            return None
        key = block_key(self._prefix, part, piece.block)
        header, head = self._header(key, self._manifest.blocks(part)[piece.block], piece)

        def read(name: str, run: tuple[int, int]) -> np.ndarray:
            first, stop = piece.first + run[0], piece.first + run[1]
            found = self._rows(key, header.tensors[name], Piece(piece.block, first, stop), head)
            return found.take(wanted[(wanted >= run[0]) & (wanted < run[1])] - run[0], axis=0)

        asked = [(name, run) for name, found in runs.items() for run in found]
        if self._store.remote and len(asked) > 1:
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="rows") as pool:
                parts = list(pool.map(lambda each: read(*each), asked))
        else:
            parts = [read(*each) for each in asked]
        cut = len(runs["features"])
        features = np.concatenate(parts[:cut])[places].reshape(len(numbers), self._width)
        targets = np.concatenate(parts[cut:])[places]
        return Samples(features, targets, features.nbytes + targets.nbytes)

    def size(self, piece: Piece) -> int:
        """The bytes that a piece of training samples takes in memory, about."""
        return (piece.stop - piece.first) * (self._feature_bytes + self._target_bytes)

    def _header(self, key: str, count: int, piece: Piece) -> tuple[Header, memoryview]:
        """A block's header, and what was read of the block's beginning to know it."""
        known = self._headers.get(key)
        if known is not None:
            return known, memoryview(b"")
        size = block_header_size(self._manifest, count)
        target = 4 * int(np.prod(self._manifest.target_shape))
        if piece.first * target <= BESIDE:
            size += piece.stop * target
        head = self._read(key, 0, size)
        header = safetensor.decode_header(head, key)
        check_block(header, key, self._manifest, count)
        self._headers[key] = header
        while len(self._headers) > _KEPT_HEADERS:
            self._headers.popitem(last=False)
        return header, head

    def _rows(self, key: str, tensor: Tensor, piece: Piece, head: memoryview) -> np.ndarray:
        """The piece's rows of a tensor, from the beginning of the block if they are in it."""
        row = (tensor.stop - tensor.start) // tensor.shape[0]
        start, stop = tensor.start + piece.first * row, tensor.start + piece.stop * row
        shape = (piece.stop - piece.first, *tensor.shape[1:])
        if stop <= len(head):
            return np.frombuffer(head[start:stop], tensor.dtype).reshape(shape).copy()
        return np.frombuffer(self._read(key, start, stop - start), tensor.dtype).reshape(shape)

    def _read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        began = time.perf_counter()
        buffer = self._store.read(key, start, count)
        self._counter.add(len(buffer), time.perf_counter() - began)
        return buffer
