"""Mean and standard deviation of numbers that arrive in batches."""

import numpy as np

_LOWEST_DEVIATION = 1e-7


def is_steady(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """bool [width]: whether numbers of this mean and standard deviation are constant, apart from rounding errors."""
    return np.asarray(deviation <= _LOWEST_DEVIATION * np.maximum(np.abs(mean), 1e-30))


def divisors(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """float64 [width]: the standard deviations to divide by, 1 where numbers are constant."""
    return np.where(is_steady(mean, deviation), 1.0, deviation)


class Moments:
    """Means and variances of columns, over batches of rows, in float64.

    They are combined as in Chan, Golub, LeVeque, *Updating formulae and a pairwise algorithm for computing sample
    variances* (1979).
    """

    def __init__(self, width: int) -> None:
        self.mean = np.zeros(width)
        self._count = 0
        self._squares = np.zeros(width)

    def add(self, values: np.ndarray) -> None:
        """Add rows float64 [n, width]; the array is overwritten."""
        count = len(values)
        mean = values.mean(axis=0)
        values -= mean
        squares = np.einsum("ij,ij->j", values, values)
        delta, total = mean - self.mean, self._count + count
        self.mean += delta * (count / total)
        self._squares += squares + delta**2 * (self._count * count / total)
        self._count = total

    @property
    def deviation(self) -> np.ndarray:
        """The standard deviation float64 [width] of the population of all rows."""
        return np.asarray(np.sqrt(self._squares / self._count))

    @property
    def steady(self) -> np.ndarray:
        """bool [width]: whether a column is constant, apart from rounding errors."""
        return is_steady(self.mean, self.deviation)
