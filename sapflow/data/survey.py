"""A survey of a data source: shapes and counts, found by reading it without cutting it into blocks."""

import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sapflow.data.blocks import POOL_BLOCKS, Manifest
from sapflow.data.chunks import Chunk, Reading
from sapflow.data.cut import beside, naming_the_field
from sapflow.data.data_file import DataFile
from sapflow.data.label_counts import Counts, LabelCounts
from sapflow.data.manifest import MAX_BLOCK_BYTES
from sapflow.data.source import open_source
from sapflow.errors import DataError
from sapflow.spec.learning import DataSpec
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
class Survey:
    """The manifest that a cut would write, without blocks and scaling; `complete` if all samples were read."""

    manifest: Manifest
    complete: bool


@naming_the_field()
def survey(data: DataSpec, store: str) -> Survey:
    """Read up to MAX_BYTES of a source, or only the first samples if it is on S3, with all checks of a cut.

    An s3:// source without an endpoint is read from that of the store, whose URL is `store`.
    Raises DataError, StoreError.
    """

    def files(url: str) -> list[DataFile]:
        from sapflow.data.remote import s3_files  # only this needs its client

        return s3_files(beside(url, store))

    source = open_source(data.source, data.format, options=data.options, read_s3=files)
    limit = 1 if data.source.startswith("s3://") else MAX_BYTES
    counts = {"train": 0, "validation": 0}
    highest: int | None = None
    counted: Counted | None = None
    size = 0
    shape: tuple[int, ...] = ()
    target_shape: tuple[int, ...] = ()
    dtype: Literal["uint8", "float32"] = "uint8"
    complete = True
    labels: _MixedLabels | None = None
    reading = Reading(source)
    for chunk in reading:
        if size >= limit:
            complete = False
            break
        shape, target_shape = chunk.features.shape[1:], chunk.targets.shape[1:]
        if chunk.features.dtype != np.uint8:
            dtype = "float32"
        counted = counted or reading.task.counted()
        if chunk.part == "train":
            counted.add(chunk.targets)
            labels = labels or _MixedLabels(reading.task)
            labels.add(chunk)
        seen = reading.task.highest_class(chunk.targets)
        if seen is not None:
            highest = max(highest or 0, seen)
        counts[chunk.part] += len(chunk.targets)
        size += chunk.features.nbytes
    held = 0 if source.brings_validation else int(data.validation_fraction * counts["train"] + 0.5)
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
    return Survey(manifest, complete)
