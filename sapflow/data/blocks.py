"""Cuts a source into blocks, once: by streaming, in bounded memory, and always into the same bytes.

Samples are taken in groups, and each group's validation samples are drawn at random. The others go through a pool of
a few blocks in which they are shuffled, so that a file sorted by class does not give blocks of one class.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sapflow.data.block_size import MAX_BLOCK_BYTES
from sapflow.data.chunks import Chunk, Part, Reading, Source
from sapflow.data.label_counts import Counts, LabelCounts
from sapflow.data.manifest import Manifest, block_key, encode_block, manifest_key
from sapflow.data.shuffle import permutation
from sapflow.data.split import Split, SplitName, refuse_without_use, split_for
from sapflow.data.statistics import Normalize, Statistics
from sapflow.errors import CorruptObject, DataError, ObjectMissing
from sapflow.objects.stores.protocol import Store
from sapflow.records.numerics import NUMERICS
from sapflow.tasks.targets import Counted
from sapflow.tasks.task import Task
from sapflow.text import parse_json

__all__ = ["Manifest", "cut_blocks", "load_manifest"]

POOL_BLOCKS = 4
GROUP = 1000
_HEADER_BYTES = 512
_POOL = 2
_PART_SEEDS: dict[Part, int] = {"train": 0, "validation": 1}


def load_manifest(store: Store, key: str) -> Manifest:
    """The manifest under `key`. Raises ObjectMissing, CorruptObject."""
    return parse_manifest(bytes(store.read(key)), key)


def parse_manifest(data: bytes, key: str) -> Manifest:
    """The manifest in the bytes under `key`. Raises CorruptObject."""
    try:
        value: Any = parse_json(data)
    except ValueError as error:
        raise CorruptObject(f"object {key} is not JSON: {error}") from error
    return Manifest.from_json(value)


def cut_blocks(
    source: Source,
    store: Store,
    prefix: str,
    *,
    validation_fraction: float,
    seed: int,
    split: SplitName | None = None,
    block_bytes: int = MAX_BLOCK_BYTES,
    normalize: Normalize = "Auto",
    progress: Callable[[int], None] | None = None,
    confirm: Callable[[], None] | None = None,
) -> Manifest:
    """Cut `source` into blocks of at most `block_bytes` under `prefix`, the manifest last; return it.

    If the data was cut before, only the manifest is read. An interrupted cut is repeated and finds its blocks in
    place, byte for byte. `validation_fraction` of the samples (rounded to whole samples) is held out, unless the source
    brings a validation set; `split` says how, and groups of samples that a source tells stay together. `progress` is
    called with the number of samples so far, and `confirm` before the manifest says that the cut is done: it raises if
    the source is not what it was. Raises DataError (also if the source has changed since an interrupted
    cut) and StoreError.
    """
    key = manifest_key(prefix)
    try:
        return load_manifest(store, key)
    except ObjectMissing:
        pass
    refuse_without_use(split, source.name, source.brings_validation)
    fraction = 0.0 if source.brings_validation else validation_fraction
    reading = Reading(source, centred=normalize in ("Auto", "Standardize"))

    def split_of(group: _Group) -> Split:
        grouped = group.groups is not None
        return split_for(split, fraction, seed, task=reading.task, grouped=grouped, targets=group.targets)

    cut = _Cut(reading, store, prefix, seed, block_bytes, split_of)
    done = 0
    for group in _groups(reading, block_bytes):
        cut.add(group)
        done += len(group.targets)
        if progress is not None:
            progress(done)
    manifest = cut.finish(normalize)
    if confirm is not None:
        confirm()
    store.create(key, json.dumps(manifest.to_json(), indent=1).encode(), durable=True)
    return load_manifest(store, key)


@dataclass(frozen=True, slots=True)
class _Group:
    """The samples of one part from number `index`·size on, in the order of the source."""

    index: int
    part: Part
    features: np.ndarray
    targets: np.ndarray
    groups: np.ndarray | None = None
    """What each sample belongs to, if the source says it."""


def _groups(chunks: Iterable[Chunk], block_bytes: int) -> Iterator[_Group]:
    """The samples in groups, whose size depends on the samples' shape alone and not on how they were read."""
    part: Part = "train"
    index = size = 0
    features: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    belonging: list[np.ndarray] = []
    waiting = 0

    def group() -> _Group:
        groups = _joined(belonging) if belonging else None
        return _Group(index, part, _joined(features), _joined(targets), groups)

    for chunk in chunks:
        if size == 0:
            values = int(np.prod(chunk.features.shape[1:]))
            size = max(1, min(GROUP, block_bytes // (4 * values)))
        if chunk.part != part:
            if waiting:
                yield group()
            part, index, waiting = chunk.part, 0, 0
            features, targets, belonging = [], [], []
        start = 0
        while start < len(chunk.targets):
            stop = min(len(chunk.targets), start + size - waiting)
            features.append(chunk.features[start:stop])
            targets.append(chunk.targets[start:stop])
            if chunk.groups is not None:
                belonging.append(chunk.groups[start:stop])
            waiting += stop - start
            start = stop
            if waiting == size:
                yield group()
                index, waiting = index + 1, 0
                features, targets, belonging = [], [], []
    if waiting:
        yield group()


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


class _Cut:
    """A cut in progress: the pools of both parts, and the figures for the manifest."""

    def __init__(
        self,
        reading: Reading,
        store: Store,
        prefix: str,
        seed: int,
        block_bytes: int,
        split_of: Callable[[_Group], Split],
    ) -> None:
        """`split_of` gives the way samples are held out, by the first ones."""
        self._reading, self._source, self._split_of = reading, reading.source, split_of
        self._pools = {part: _Pool(store, prefix, part, seed, block_bytes) for part in _PART_SEEDS}
        self._statistics: Statistics | None = None
        self._highest: int | None = None
        self._wide = False
        self._task: type[Task]
        self._counted: Counted
        self._split: Split
        self._target_shape: tuple[int, ...] = ()
        self._shape: tuple[int, ...] = ()

    def add(self, group: _Group) -> None:
        features, targets = group.features, group.targets
        if self._statistics is None:
            self._shape, self._target_shape = features.shape[1:], targets.shape[1:]
            self._task, self._counted = self._reading.task, self._reading.task.counted()
            self._split = self._split_of(group)
            for pool in self._pools.values():
                pool.count_labels(self._reading.task)
            self._statistics = Statistics(self._shape, centred=self._reading.origin is not None)
        self._wide = self._wide or features.dtype != np.uint8
        highest = self._task.highest_class(targets)
        if highest is not None:
            self._highest = max(self._highest or 0, highest)
        if group.part == "validation":
            held = np.ones(len(targets), bool)
        else:
            held = self._split.held(targets, group.index, group.groups)
        if held.any():
            self._pools["validation"].add(features[held], targets[held])
        if not held.all():
            kept = ~held
            self._statistics.add(features[kept])
            self._counted.add(targets[kept])
            self._pools["train"].add(features[kept], targets[kept])

    def finish(self, normalize: Normalize) -> Manifest:
        train, validation = self._pools["train"].finish(), self._pools["validation"].finish()
        if not train or self._statistics is None:
            raise DataError(
                f"{self._source.name} leaves no sample to train on; lower data.validationFraction"
            )
        classes = None if self._highest is None else max(self._highest + 1, self._source.classes or 2)
        dtype: Literal["uint8", "float32"] = "float32" if self._wide else "uint8"
        scale, shift = self._statistics.affine(normalize)
        origin = self._reading.origin
        return Manifest(
            self._source.name, self._task.name, self._shape, dtype, self._target_shape, classes, train, validation,
            scale, shift, self._counted.finish(), self._pools["train"].labels, NUMERICS,
            () if origin is None else tuple(map(float, origin)), self._reading.columns, self._reading.class_names,
        )  # fmt: skip


class _Pool:
    """Collects samples of one part; when it is full, they are shuffled and written as blocks.

    The first features decide whether the pool holds uint8 or float32. If float32 features follow uint8 ones, the
    pool is emptied and widened.
    """

    def __init__(self, store: Store, prefix: str, part: Part, seed: int, block_bytes: int) -> None:
        self._store, self._prefix, self._part = store, prefix, part
        self._seed, self._block_bytes = seed, block_bytes
        self._features = self._targets = np.empty(0)
        self._rows = self._filled = self._emptied = 0
        self._counts: list[int] = []
        self._labels: LabelCounts | None = None

    def count_labels(self, task: type[Task]) -> None:
        """Count the labels of each block, before the first is written."""
        self._labels = LabelCounts(task)

    @property
    def labels(self) -> Counts:
        """How often each label is in each group of the blocks so far."""
        return () if self._labels is None else self._labels.finish()

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        if not self._rows or (features.dtype != np.uint8 and self._features.dtype == np.uint8):
            self._empty()
            self._allocate(features, targets)
        start = 0
        while start < len(targets):
            count = min(len(targets) - start, len(self._targets) - self._filled)
            into = slice(self._filled, self._filled + count)
            self._features[into] = features[start : start + count]
            self._targets[into] = targets[start : start + count]
            self._filled += count
            start += count
            if self._filled == len(self._targets):
                self._empty()

    def finish(self) -> tuple[int, ...]:
        """Write the remaining samples. Returns the number of samples of each block."""
        self._empty()
        return tuple(self._counts)

    def _allocate(self, features: np.ndarray, targets: np.ndarray) -> None:
        sample = features[0].nbytes + targets[0].nbytes
        self._rows = (self._block_bytes - _HEADER_BYTES) // sample
        if self._rows < 1:
            raise DataError(
                f"one sample has {sample:,} bytes, more than a block of {self._block_bytes:,}; "
                "make samples smaller"
            )
        capacity = self._rows * POOL_BLOCKS
        self._features = np.empty((capacity, *features.shape[1:]), features.dtype)
        self._targets = np.empty((capacity, *targets.shape[1:]), targets.dtype)

    def _empty(self) -> None:
        if not self._filled:
            return
        order = permutation(self._filled, self._seed, _POOL, _PART_SEEDS[self._part], self._emptied)
        for start in range(0, self._filled, self._rows):
            rows = order[start : start + self._rows]
            self._write(self._features[rows], self._targets[rows])
        self._filled = 0
        self._emptied += 1

    def _write(self, features: np.ndarray, targets: np.ndarray) -> None:
        key = block_key(self._prefix, self._part, len(self._counts))
        parts = encode_block(features, targets)
        if not self._store.create(key, parts, durable=True) and bytes(self._store.read(key)) != b"".join(
            parts
        ):
            raise DataError(
                f"block {key} of an interrupted cut differs from what the source gives now, because the source has "
                "changed; start a new job"
            )
        self._counts.append(len(targets))
        if self._labels is not None:
            self._labels.add(targets)
