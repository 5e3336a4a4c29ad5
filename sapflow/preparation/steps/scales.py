"""Offsets and divisors of scaled columns, and how they follow from moments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sapflow.preparation.steps.column_moments import Moments

Method = Literal["Standard", "MinMax", "MaxAbs"]
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Scales:
    """float64 arrays of one shape: what is taken off, and what is divided by."""

    offsets: np.ndarray
    divisors: np.ndarray

    def applied(self, numbers: np.ndarray, places: Any) -> np.ndarray:
        """float64 [n]: the numbers scaled by what is at `places`: one for all, or one for each row."""
        return np.asarray((numbers - self.offsets[places]) / self.divisors[places])

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of a record."""
        return {"offsets": self.offsets, "divisors": self.divisors}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Scales":
        """The scales that `arrays` has given."""
        return cls(arrays["offsets"], arrays["divisors"])


def scales_of(moments: Moments, method: Method) -> Scales:
    """The scales by a method. What is constant is divided by 1, by the same bounds as in scikit-learn."""
    # What is infinite is told by the caller.
    with np.errstate(over="ignore", invalid="ignore"):
        match method:
            case "Standard":
                variances, means = moments.variances, moments.means
                bounds = moments.counts * _EPSILON * variances + (moments.counts * means * _EPSILON) ** 2
                constant = variances <= bounds
                offsets = np.where(moments.least == moments.largest, moments.least, means)
                return Scales(offsets, np.where(constant, 1.0, np.sqrt(variances)))
            case "MinMax":
                return Scales(moments.least, divisors(moments.largest - moments.least))
            case "MaxAbs":
                largest = np.maximum(np.abs(moments.least), np.abs(moments.largest))
                return Scales(np.zeros_like(largest), divisors(largest))


def divisors(distances: np.ndarray) -> np.ndarray:
    """The distances, but 1 where there is none to speak of."""
    return np.where(distances < 10 * _EPSILON, 1.0, distances)
