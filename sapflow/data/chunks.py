"""The chunks of samples that a source yields, and the checks that every sample passes before it is stored."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sapflow.errors import DataError
from sapflow.tasks.registry import of_targets
from sapflow.tasks.targets import Rows
from sapflow.tasks.task import Task

Part = Literal["train", "validation"]

CHUNK_BYTES = 2 << 20
MAX_VALUES = 2_000_000
"""The most values in one sample: as float32 they fit into a block of 8 MiB."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some samples in the order of their source: features [n, *shape], targets [n] or [n, k].

    `row` is the first sample's number, from 0, within `origin` (a file, an array, a set); errors name it.
    """

    features: np.ndarray
    targets: np.ndarray
    origin: str
    row: int = 0
    part: Part = "train"


@dataclass(frozen=True, slots=True)
class Source:
    """Samples that are read once, front to back, in bounded memory; training samples come before validation samples."""

    name: str
    chunks: Callable[[], Iterator[Chunk]]
    """Starts to read; the chunks are unchecked."""
    task: str | None = None
    """The family of tasks that the source is for. None means that the targets decide: whole numbers are classes or
    labels."""
    classes: int | None = None
    brings_validation: bool = False

    def read(self) -> Iterator[Chunk]:
        """Checked chunks: features uint8 or float32 [n, *shape], targets as their task stores them.

        Raises DataError if shapes or counts differ, labels are no class numbers, values are not finite numbers, or
        there are no samples at all.
        """
        for _, chunk in self.read_task():
            yield chunk

    def read_task(self) -> Iterator[tuple[type[Task], Chunk]]:
        """Checked chunks, each with the task that the first one's targets are for. Raises as `read`."""
        checks = _Checks(self)
        for chunk in self.chunks():
            if len(chunk.features) or len(chunk.targets):
                checked = checks.apply(chunk)
                yield checks.task, checked
        if checks.shape is None:
            raise DataError(f"{self.name} holds no samples")


def rows_per_chunk(shape: tuple[int, ...], itemsize: int, origin: str) -> int:
    """The number of samples to read at once. Raises DataError if a sample is empty or does not fit into a block."""
    values = math.prod(shape)
    if not 0 < values <= MAX_VALUES:
        raise DataError(
            f"{origin}: one sample of shape {list(shape)} has {values:,} values; "
            f"1 to {MAX_VALUES:,} fit a block"
        )
    return max(1, CHUNK_BYTES // (values * itemsize))


class _Checks:
    """What the first samples determine for all that follow: the shapes, and the task."""

    task: type[Task]

    def __init__(self, source: Source) -> None:
        self.shape: tuple[int, ...] | None = None
        self.target_shape: tuple[int, ...] = ()
        self._first = ""
        self._family = source.task
        self._classes = source.classes

    def apply(self, chunk: Chunk) -> Chunk:
        features, targets, origin = chunk.features, chunk.targets, chunk.origin
        if features.ndim < 2:
            raise DataError(f"{origin}: features must be [samples, …], not of shape {list(features.shape)}")
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        if targets.ndim not in (1, 2):
            raise DataError(f"{origin}: targets must be [samples] or [samples, k], not {list(targets.shape)}")
        if len(features) != len(targets):
            raise DataError(f"{origin}: {len(features)} samples but {len(targets)} targets")
        for what, array in (("features", features), ("targets", targets)):
            if array.dtype.kind not in "buif":
                raise DataError(f"{origin}: {what} are {array.dtype}; they must be numbers")
        if self.shape is None:
            rows_per_chunk(features.shape[1:], 4, origin)
            self.shape, self.target_shape, self._first = features.shape[1:], targets.shape[1:], origin
            self.task = of_targets(targets, self._family)
        if features.shape[1:] != self.shape or targets.shape[1:] != self.target_shape:
            raise DataError(
                f"{origin}: samples of shape {list(features.shape[1:])}, targets {list(targets.shape[1:])}, "
                f"where {self._first} has {list(self.shape)}, {list(self.target_shape)}; all must be alike"
            )
        checked = self.task.checked(targets, Rows(origin, chunk.row), self._classes)
        return Chunk(self._compact(features, chunk), checked, origin, chunk.row, chunk.part)

    def _compact(self, features: np.ndarray, chunk: Chunk) -> np.ndarray:
        """The features as uint8 if that type holds every value exactly, else as float32."""
        if features.dtype.kind == "b" or features.dtype == np.uint8:
            return features.astype(np.uint8, copy=False)
        with np.errstate(over="ignore"):
            values = features.astype(np.float32)
        rows = Rows(chunk.origin, chunk.row)
        rows.refuse(~np.isfinite(values), features, "feature", "features must be finite float32 numbers")
        if values.min() >= 0 and values.max() <= 255:
            small = values.astype(np.uint8)
            if np.array_equal(small, values):
                return small
        return values
