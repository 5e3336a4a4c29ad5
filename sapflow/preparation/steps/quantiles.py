"""Quantiles by order statistics: which ranks are needed, and what lies between them, as numpy has it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ordered:
    """Some order statistics of a column of `count` values: those of `ranks`, int64 [r] increasing."""

    count: int
    ranks: np.ndarray
    values: np.ndarray
    """float64 [r]"""

    def at(self, ranks: np.ndarray) -> np.ndarray:
        """float64: the values of some of the ranks."""
        return np.asarray(self.values[np.searchsorted(self.ranks, ranks)])


def median_ranks(count: int) -> np.ndarray:
    """int64: the ranks that the median of `count` values needs."""
    return np.unique(np.array([(count - 1) // 2, count // 2], np.int64))


def median(ordered: Ordered) -> float:
    """The median: the middle value, or the mean of the two."""
    low, high = ordered.at(np.array([(ordered.count - 1) // 2, ordered.count // 2])).tolist()
    return low if low == high else float(low + high) / 2


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Where the quantiles of `shares` (float64 [q], from 0 to 1) lie among `count` values: between two ranks each."""

    lower: np.ndarray
    upper: np.ndarray
    parts: np.ndarray
    """float64 [q]: how far from the lower to the upper."""

    @classmethod
    def linear(cls, shares: np.ndarray, count: int) -> "Quantiles":
        """numpy's method "linear" (type 7 of Hyndman and Fan, 1996)."""
        places = (count - 1) * shares
        lower = np.clip(np.floor(places), 0, count - 1)
        return cls(*_ranks(lower, count), np.where(places >= count - 1, 0.0, places - lower))

    @classmethod
    def averaged(cls, shares: np.ndarray, count: int) -> "Quantiles":
        """numpy's method "averaged_inverted_cdf" (type 2 of Hyndman and Fan, 1996)."""
        places = count * shares - 1
        lower = np.floor(places)
        parts = np.where(places == lower, 0.5, 1.0)
        beyond = (places < 0) | (places >= count - 1)
        return cls(*_ranks(lower, count), np.where(beyond, 0.0, parts))

    @property
    def ranks(self) -> np.ndarray:
        """int64, increasing: all ranks that are needed."""
        return np.unique(np.concatenate([self.lower, self.upper]))

    def values(self, ordered: Ordered) -> np.ndarray:
        """float64 [q]: the quantiles, each counted from the rank that is nearer."""
        low, high = ordered.at(self.lower), ordered.at(self.upper)
        distances = high - low
        near_low, near_high = low + distances * self.parts, high - distances * (1 - self.parts)
        return np.asarray(np.where(self.parts >= 0.5, near_high, near_low))


_QUARTILES = np.array([0.25, 0.75])


def robust_ranks(count: int) -> np.ndarray:
    """int64: the ranks that median and quartiles of `count` values need."""
    return np.union1d(median_ranks(count), Quantiles.linear(_QUARTILES, count).ranks)


def robust_scale(ordered: Ordered) -> tuple[float, float]:
    """The median, and the distance of the quartiles."""
    lower, upper = Quantiles.linear(_QUARTILES, ordered.count).values(ordered).tolist()
    return median(ordered), upper - lower


def _ranks(lower: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    low = np.clip(lower, 0, count - 1).astype(np.int64)
    return low, np.where(lower < 0, 0, np.minimum(low + 1, count - 1))
