"""A survey of a data source: shapes and counts, found by reading it without cutting it into blocks."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sapflow.data.block_size import MAX_BLOCK_BYTES
from sapflow.data.blocks import POOL_BLOCKS, Manifest
from sapflow.data.chunks import Chunk, Reading
from sapflow.data.data_file import DataFile
from sapflow.data.label_counts import Counts, LabelCounts
from sapflow.data.source import open_data
from sapflow.data.source_files import naming
from sapflow.data.split import Split, refuse_without_use, split_for
from sapflow.errors import DataError
from sapflow.spec.learning import DataSpec
from sapflow.spec.sources import beside
from sapflow.tasks.targets import Counted
from sapflow.tasks.task import Task


class _MixedLabels:
    """Counts labels by what the cut mixes: the consecutive samples that fill the blocks which it shuffles together."""

    def __init__(self, task: type[Task]) -> None:
        self._counts = LabelCounts(task)
        self._size = self._missing = sys.maxsize
        self._waiting: list[np.ndarray] = []

    def add(self, chunk: Chunk) -> None:
        """Count the next samples of the source."""
        targets = chunk.targets
        sample = max(1, chunk.features[:1].nbytes + targets[:1].nbytes)
        size = max(1, POOL_BLOCKS * (MAX_BLOCK_BYTES // sample))
        if size < self._size:
            # The cut empties its pool, too, where wider samples follow.
            self._size = size
            if self._waiting:
                self._count()
            self._missing = size
        while len(targets):
            some, targets = targets[: self._missing], targets[self._missing :]
            self._waiting.append(some)
            self._missing -= len(some)
            if not self._missing:
                self._count()

    def finish(self) -> Counts:
        if self._waiting:
            self._count()
        return self._counts.finish()

    def _count(self) -> None:
        self._counts.add(np.concatenate(self._waiting))
        self._waiting, self._missing = [], self._size


MAX_BYTES = 256 << 20
"""Bytes of features that are read; of larger sources only the beginning is surveyed."""


@dataclass(frozen=True, slots=True)
class RawExtent:
    """How much raw data there is to prepare, and in how many partitions."""

    files: int
    bytes: int
    """Of all files, as they are."""
    partitions: int
    indexed: int = 0
    """Files of gzip, which are cut at seek points."""
    estimated: bool = False
    """Whether `partitions` follows from how the beginning unpacks."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The manifest that a cut would write, without blocks and scaling; `complete` if all samples were read, and
    `grouped` if whole groups of them are held out. `raw`: of raw data, which is prepared."""

    manifest: Manifest
    complete: bool
    grouped: bool = False
    raw: RawExtent | None = None


class _Limited:
    """The first chunks of a source."""

    def __init__(self, chunks: Iterator[Chunk], name: str) -> None:
        self._chunks, self._limit = chunks, 1 if name.startswith("s3://") else MAX_BYTES
        self.complete = True
        """Whether all chunks were read."""

    def __iter__(self) -> Iterator[Chunk]:
        size = 0
        for chunk in self._chunks:
            if size >= self._limit:
                self.complete = False
                return
            yield chunk
            size += chunk.features.nbytes


@naming("spec.data")
def survey(data: DataSpec, store: str, seed: int = 0) -> Survey:
    """Read up to MAX_BYTES of each source, or only the first samples if it is on S3, with all checks of a cut.

    An s3:// source without an endpoint is read from that of the store, whose URL is `store`. `seed` is the job's, which
    chooses the groups that are held out.
    Raises DataError, StoreError.
    """

    def files(url: str, *, nested: bool = False) -> list[DataFile]:
        from sapflow.data.remote import s3_files  # only this needs its client

        return s3_files(beside(url, store), nested=nested)

    source = open_data(data, files)
    refuse_without_use(data.split, source.name, source.brings_validation)
    counts = {"train": 0, "validation": 0}
    highest: int | None = None
    counted: Counted | None = None
    shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    dtype: Literal["uint8", "float32"] = "uint8"
    labels: _MixedLabels | None = None
    split: Split | None = None
    held = 0
    reading = Reading(source)
    own = _Limited(reading.own(), data.source)
    separate: _Limited | None = None
    grouped = False

    def chunks() -> Iterator[Chunk]:
        nonlocal separate
        yield from own
        if data.validation is not None:
            separate = _Limited(reading.separate(partly=not own.complete), data.validation.source)
            yield from separate

    for chunk in chunks():
        shape, target_shape = chunk.features.shape[1:], chunk.targets.shape[1:]
        if chunk.features.dtype != np.uint8:
            dtype = "float32"
        counted = counted or reading.task.counted()
        if chunk.part == "train":
            counted.add(chunk.targets)
            labels = labels or _MixedLabels(reading.task)
            labels.add(chunk)
            split = split or split_for(
                data.split,
                0.0 if source.brings_validation else data.validation_fraction,
                seed,
                task=reading.task,
                targets=chunk.targets,
                grouped=chunk.groups is not None,
            )
            grouped = chunk.groups is not None
            # Which samples are held out depends on the order in which they come, their number does not.
            held += int(split.held(chunk.targets, 0, chunk.groups).sum())
        seen = reading.task.highest_class(chunk.targets)
        if seen is not None:
            highest = max(highest or 0, seen)
        counts[chunk.part] += len(chunk.targets)
    if grouped and not own.complete and counts["train"] == held:
        held = 0  # The first groups happen to be held out, and others follow.
    if counts["train"] <= held:
        raise DataError(f"{source.name} leaves no sample to train on; lower data.validationFraction")
    manifest = Manifest(
        source=source.name,
        task=reading.task.name,
        shape=shape,
        dtype=dtype,
        target_shape=target_shape,
        classes=None if highest is None else max(highest + 1, source.classes or 2),
        train=(counts["train"] - held,),
        validation=(counts["validation"] + held,) if counts["validation"] + held else (),
        target_statistics={} if counted is None else counted.finish(),
        label_counts=() if labels is None else labels.finish(),
        columns=reading.columns,
        class_names=reading.class_names,
    )
    complete = own.complete and (separate is None or separate.complete)
    return Survey(manifest, complete, grouped=grouped)
