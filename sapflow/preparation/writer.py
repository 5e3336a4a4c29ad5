"""Writes the samples of one partition as blocks in the training format.

Samples go through two pools of a few blocks each, those for training and those for validation. A pool that is full is
permuted, by the seed and the partition's number, and written. So a writer's memory is that of its pools, whatever the
partition holds, and it can go on from a record of them.
"""

from dataclasses import dataclass

import numpy as np

from sapflow.data.chunks import PARTS, Part
from sapflow.data.manifest import block_key, encode_block
from sapflow.data.shuffle import permutation
from sapflow.errors import CorruptObject, DataError
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.layout import Layout
from sapflow.preparation.record import Record, joined, parts
from sapflow.preparation.samples import Made

POOL_BLOCKS = 4
_PREPARED = 3
"""Among the seeds of permutations, what is for the pools of prepared samples."""


@dataclass(slots=True)
class _Pool:
    features: np.ndarray
    targets: np.ndarray
    expected: int
    """The samples that were counted."""
    first: int
    """The number of the partition's first block."""
    taken: int = 0
    filled: int = 0
    emptied: int = 0
    written: int = 0
    """Blocks."""


class Writer:
    """Takes a partition's samples in their order; `finish` after the last."""

    def __init__(
        self,
        layout: Layout,
        store: Store,
        prefix: str,
        seed: int,
        partition: int,
        before: Record | None = None,
    ) -> None:
        """`before`: the record of a writer of this partition that goes on here."""
        self._layout, self._store, self._prefix = layout, store, prefix
        self._seed, self._partition = seed, partition
        found = {} if before is None else parts(before)
        self._pools = {part: self._pool(part, found.get(part)) for part in PARTS}
        self.bytes_written = 0

    def add(self, samples: Made) -> None:
        """Take some samples, and write the pools that are full. Raises DataError, StoreError."""
        for part, rows in zip(PARTS, (~samples.held, samples.held), strict=True):
            self._add(part, samples, np.flatnonzero(rows))

    def record(self) -> Record:
        """What the pools hold, for a writer that goes on."""
        return joined(
            {
                part: Record(
                    {"taken": pool.taken, "emptied": pool.emptied, "written": pool.written},
                    {"features": pool.features[: pool.filled], "targets": pool.targets[: pool.filled]},
                )
                for part, pool in self._pools.items()
            }
        )

    def finish(self) -> None:
        """Write what is left. Raises CorruptObject where the partition has other samples than were counted."""
        for part, pool in self._pools.items():
            if pool.taken != pool.expected:
                raise self._changed(pool)
            self._empty(part, pool)

    def _pool(self, part: Part, before: Record | None) -> _Pool:
        layout = self._layout
        census = layout.census.train if part == "train" else layout.census.held
        capacity = min(layout.rows * POOL_BLOCKS, census[self._partition])
        width = layout.samples.target_width
        pool = _Pool(
            np.empty((capacity, *layout.samples.shape), np.uint8 if layout.small else np.float32),
            np.empty(capacity if width == 1 else (capacity, width), layout.task.stored),
            census[self._partition],
            layout.first_block(part, self._partition),
        )
        if before is not None:
            held = before.arrays["features"]
            pool.filled = len(held)
            pool.features[: pool.filled], pool.targets[: pool.filled] = held, before.arrays["targets"]
            pool.taken = int(before.notes["taken"])
            pool.emptied, pool.written = int(before.notes["emptied"]), int(before.notes["written"])
        return pool

    def _add(self, part: Part, samples: Made, rows: np.ndarray) -> None:
        pool, start = self._pools[part], 0
        features = samples.features.astype(pool.features.dtype, copy=False)
        pool.taken += len(rows)
        if pool.taken > pool.expected:
            raise self._changed(pool)
        while start < len(rows):
            count = min(len(rows) - start, len(pool.targets) - pool.filled)
            into, some = slice(pool.filled, pool.filled + count), rows[start : start + count]
            # Without checks of its indexes, which are right, numpy writes into the pool directly.
            features.take(some, axis=0, out=pool.features[into], mode="clip")
            pool.targets[into] = samples.targets[some]
            pool.filled += count
            start += count
            if pool.filled == len(pool.targets):
                self._empty(part, pool)

    def _changed(self, pool: _Pool) -> CorruptObject:
        return CorruptObject(
            f"partition {self._partition} has {pool.taken:,} samples of a part where {pool.expected:,} were counted: "
            "what was parsed of it has changed in the store; begin the job anew"
        )

    def _empty(self, part: Part, pool: _Pool) -> None:
        if not pool.filled:
            return
        number = PARTS.index(part)
        order = permutation(pool.filled, self._seed, _PREPARED, number, self._partition, pool.emptied)
        for start in range(0, pool.filled, self._layout.rows):
            rows = order[start : start + self._layout.rows]
            self._write(part, pool, pool.features.take(rows, axis=0), pool.targets[rows])
        pool.filled = 0
        pool.emptied += 1

    def _write(self, part: Part, pool: _Pool, features: np.ndarray, targets: np.ndarray) -> None:
        key = block_key(self._prefix, part, pool.first + pool.written)
        block = encode_block(features, targets)
        if not self._store.create(key, block, durable=True) and bytes(self._store.read(key)) != b"".join(
            block
        ):
            raise DataError(
                f"block {key} of an interrupted preparation differs from what the source gives now, because the source "
                "has changed; start a new job"
            )
        pool.written += 1
        self.bytes_written += sum(len(each) for each in block)
