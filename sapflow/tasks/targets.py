"""Facts about a data set's targets, and statistics of them that are computed while the data is cut."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sapflow.errors import DataError
from sapflow.quantities.moments import Moments, divisors

TargetStatistics = Mapping[str, tuple[float, ...]]
"""Statistics of the training samples' targets in a manifest, by name."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The targets of a data set."""

    shape: tuple[int, ...] = ()
    """The shape of a sample's target: () or (k,)."""
    classes: int | None = None
    """For class numbers: the highest one + 1, or the number that the source gives."""
    statistics: TargetStatistics = field(default_factory=dict)
    """Statistics of the training samples; empty in data of earlier releases."""
    class_names: tuple[str, ...] = ()
    """The words for the classes, by number, if the data has words for them."""

    @property
    def values(self) -> int:
        """The number of values in a sample's target."""
        return self.shape[0] if self.shape else 1


@dataclass(frozen=True, slots=True)
class Rows:
    """The origin of a batch of targets, for messages: a file or array, and the batch's first row there, from 0."""

    origin: str
    first: int = 0

    def refuse(self, broken: np.ndarray, values: np.ndarray, what: str, rule: str) -> None:
        """Raise DataError for the first of `values` that is broken, if any is."""
        if broken.any():
            index = np.unravel_index(int(broken.argmax()), broken.shape)
            raise DataError(
                f"{self.origin}: row {self.first + int(index[0])} (the first is 0) has the {what} "
                f"{values[index]}; {rule}"
            )


class Counted(ABC):
    """Computes statistics of targets over batches of training samples."""

    @abstractmethod
    def add(self, targets: np.ndarray) -> None:
        """Add the targets of some samples."""

    @abstractmethod
    def finish(self) -> TargetStatistics:
        """The statistics for the manifest."""


class ClassCounts(Counted):
    """The number of samples of each class as `counts`, unless there are more than `most` classes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts = np.zeros(0, np.int64)

    def add(self, targets: np.ndarray) -> None:
        found = np.bincount(targets)
        if len(found) < len(self._counts):
            found, self._counts = self._counts, found
        found[: len(self._counts)] += self._counts
        self._counts = found

    def finish(self) -> TargetStatistics:
        return {"counts": tuple(map(float, self._counts))} if len(self._counts) <= self._most else {}


class LabelCounts(Counted):
    """The number of samples with each label as `counts`, and of all samples as `samples`."""

    def __init__(self) -> None:
        self._samples = 0
        self._counts = np.zeros(1)

    def add(self, targets: np.ndarray) -> None:
        self._samples += len(targets)
        self._counts = self._counts + targets.sum(axis=0, dtype=np.float64)

    def finish(self) -> TargetStatistics:
        return {"counts": tuple(map(float, self._counts)), "samples": (float(self._samples),)}


class ValueMoments(Counted):
    """`mean` and `deviation` of each value; a deviation is never 0."""

    def __init__(self) -> None:
        self._moments: Moments | None = None

    def add(self, targets: np.ndarray) -> None:
        values = targets.reshape(len(targets), -1).astype(np.float64)
        if self._moments is None:
            self._moments = Moments(values.shape[1])
        self._moments.add(values)

    def finish(self) -> TargetStatistics:
        if self._moments is None:
            return {}
        deviation = divisors(self._moments.mean, self._moments.deviation)
        return {"mean": tuple(map(float, self._moments.mean)), "deviation": tuple(map(float, deviation))}
