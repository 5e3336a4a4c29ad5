"""Counts, means, variances and ranges of columns, exact enough to be merged.

Two arrays' moments are merged by the formula of Chan, Golub and LeVeque (1979), so no sum of squares loses what
variances are made of. It takes differences of means, which may be much smaller than the means are: so each mean is kept
with what its rounding has taken off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sapflow.preparation.record import Record
from sapflow.preparation.step import StepProblem


@dataclass(frozen=True, slots=True)
class Moments:
    """Of k series of numbers, each array [k]. A series without numbers has mean and squares 0, least inf, largest -inf.

    `rests` is the means less their float64, `squares` the sum of squared distances from the mean.
    """

    counts: np.ndarray
    """int64"""
    means: np.ndarray
    rests: np.ndarray
    squares: np.ndarray
    least: np.ndarray
    largest: np.ndarray

    @property
    def variances(self) -> np.ndarray:
        """Divided by the counts, as scikit-learn has them; NaN where there are no numbers."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.squares / self.counts)

    def record(self) -> Record:
        """The moments as a record."""
        return Record({}, {name: getattr(self, name) for name in _ARRAYS})

    @classmethod
    def of_record(cls, record: Record) -> "Moments":
        """The moments that `record` was made from."""
        return cls(**{name: record.arrays[name] for name in _ARRAYS})


_ARRAYS = ("counts", "means", "rests", "squares", "least", "largest")


def moments_of(series: Sequence[np.ndarray]) -> Moments:
    """The moments of some series, each float64 [n]; NaN is missing."""
    found = [_moments(each[~np.isnan(each)]) for each in series]
    counts, *rest = zip(*found, strict=True) if found else [()] * len(_ARRAYS)
    return Moments(np.array(counts, np.int64), *(np.array(each, np.float64) for each in rest))


def _moments(values: np.ndarray) -> tuple[float, ...]:
    count = len(values)
    if count == 0:
        return 0, 0.0, 0.0, 0.0, np.inf, -np.inf
    # Infinite values, and sums that overflow, are told by `refuse_infinite`.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = values.sum() / count
        distances = values - mean
        rest = distances.sum()
        squares = np.square(distances).sum() - rest * rest / count
        mean, rest = normalised(mean, rest / count)
        return count, mean, rest, np.maximum(squares, 0.0), values.min(), values.max()


def normalised(mean: Any, rest: Any) -> tuple[Any, Any]:
    """The float64 nearest to mean + rest, and exactly what is left of it (Knuth's TwoSum)."""
    nearest = mean + rest
    added = nearest - mean
    return nearest, (mean - (nearest - added)) + (rest - added)


def merged(several: Sequence[Moments]) -> Moments:
    """The moments of the series one after the other, in this order."""
    total = several[0]
    for each in several[1:]:
        total = _chan(total, each)
    return total


def _chan(one: Moments, other: Moments) -> Moments:
    counts = one.counts + other.counts
    with np.errstate(over="ignore", invalid="ignore"):
        part = other.counts / np.maximum(counts, 1)
        distance = (other.means - one.means) + (other.rests - one.rests)
        means, rests = normalised(one.means, one.rests + distance * part)
        squares = one.squares + other.squares + distance * distance * (one.counts * part)
    least, largest = np.minimum(one.least, other.least), np.maximum(one.largest, other.largest)

    def chosen(mine: np.ndarray, theirs: np.ndarray, both: np.ndarray) -> np.ndarray:
        """Exactly what the other has, where one has nothing."""
        return np.where(one.counts == 0, theirs, np.where(other.counts == 0, mine, both))

    return Moments(
        counts,
        chosen(one.means, other.means, means),
        chosen(one.rests, other.rests, rests),
        chosen(one.squares, other.squares, squares),
        least,
        largest,
    )


def refuse_empty(columns: Sequence[str], counts: np.ndarray) -> None:
    """Raise StepProblem for a column without any value in the training rows."""
    for column, count in zip(columns, counts.tolist(), strict=True):
        if count == 0:
            raise StepProblem(
                f"column {column} has no value in any training row: drop it, or impute a Constant before",
                "columns",
            )


def refuse_infinite(columns: Sequence[str], *statistics: np.ndarray) -> None:
    """Raise StepProblem for a column of which one of the statistics, each [columns], is no number."""
    finite = np.logical_and.reduce([np.isfinite(each) for each in statistics])
    for column, fine in zip(columns, finite.tolist(), strict=True):
        if not fine:
            raise StepProblem(
                f"column {column} has infinite values, or ones too large for a sum: clip it before", "columns"
            )


NO_ROWS = "there are no training rows to learn from: see what drops rows and what the split holds out"


def given_rows(total: Record | None) -> Record:
    """What a pass has counted. Raises StepProblem if there were no training rows."""
    if total is None:
        raise StepProblem(NO_ROWS)
    return total
