"""The chunks of samples that a source yields, and the checks that every sample passes before it is stored."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sapflow.errors import DataError

Part = Literal["train", "validation"]
Task = Literal["classification", "regression"]

CHUNK_BYTES = 2 << 20
MAX_VALUES = 2_000_000
"""The most values in one sample: as float32 they fit into a block of 8 MiB."""
MAX_CLASSES = 1 << 16


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
    task: Task | None = None
    """None means that the targets' type decides: integers are classes."""
    classes: int | None = None
    brings_validation: bool = False

    def read(self) -> Iterator[Chunk]:
        """Checked chunks: features uint8 or float32 [n, *shape], targets int32 [n] or float32 [n] or [n, k].

        Raises DataError if shapes or counts differ, labels are no class numbers, values are not finite numbers, or
        there are no samples at all.
        """
        checks = _Checks(self)
        for chunk in self.chunks():
            if len(chunk.features) or len(chunk.targets):
                yield checks.apply(chunk)
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
    """What the first samples determine for all that follow: the shapes, and whether targets are classes."""

    def __init__(self, source: Source) -> None:
        self.shape: tuple[int, ...] | None = None
        self.target_shape: tuple[int, ...] = ()
        self._first = ""
        self._task = source.task
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
            if self._task is None:
                self._task = "regression" if targets.dtype.kind == "f" else "classification"
        if features.shape[1:] != self.shape or targets.shape[1:] != self.target_shape:
            raise DataError(
                f"{origin}: samples of shape {list(features.shape[1:])}, targets {list(targets.shape[1:])}, "
                f"where {self._first} has {list(self.shape)}, {list(self.target_shape)}; all must be alike"
            )
        checked = (
            self._labels(targets, chunk) if self._task == "classification" else self._values(targets, chunk)
        )
        return Chunk(self._compact(features, chunk), checked, origin, chunk.row, chunk.part)

    def _labels(self, targets: np.ndarray, chunk: Chunk) -> np.ndarray:
        if targets.ndim != 1:
            raise DataError(
                f"{chunk.origin}: {targets.shape[1]} targets a sample; classes need one class number each "
                "(task: Regression learns several values)"
            )
        if targets.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                broken = ~(np.isfinite(targets) & (targets == np.floor(targets)))
            _refuse(
                broken, targets, chunk, "label", "classes are whole numbers (task: Regression learns values)"
            )
        limit = self._classes or MAX_CLASSES
        allowed = f"labels go from 0 to {limit - 1}"
        if self._classes is None:
            allowed += " (task: Regression learns values)"
        _refuse((targets < 0) | (targets >= limit), targets, chunk, "label", allowed)
        return targets.astype(np.int32)

    def _values(self, targets: np.ndarray, chunk: Chunk) -> np.ndarray:
        values = _float32(targets)
        _refuse(~np.isfinite(values), targets, chunk, "target", "targets must be finite float32 numbers")
        return values

    def _compact(self, features: np.ndarray, chunk: Chunk) -> np.ndarray:
        """The features as uint8 if that type holds every value exactly, else as float32."""
        if features.dtype.kind == "b" or features.dtype == np.uint8:
            return features.astype(np.uint8, copy=False)
        values = _float32(features)
        _refuse(~np.isfinite(values), features, chunk, "feature", "features must be finite float32 numbers")
        if values.min() >= 0 and values.max() <= 255:
            small = values.astype(np.uint8)
            if np.array_equal(small, values):
                return small
        return values


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _refuse(broken: np.ndarray, values: np.ndarray, chunk: Chunk, what: str, rule: str) -> None:
    if broken.any():
        index = np.unravel_index(int(broken.argmax()), broken.shape)
        raise DataError(
            f"{chunk.origin}: row {chunk.row + int(index[0])} (the first is 0) has the {what} "
            f"{values[index]}; {rule}"
        )
