"""How features are scaled, from numbers gathered while the source is cut: a source is read once."""

import math
from typing import Literal

import numpy as np

Normalize = Literal["Auto", "None", "Scale", "Standardize"]

MAX_VECTOR = 16_384
"""Features that are standardised one by one; more share a mean, which keeps the manifest small."""
_LOWEST_DEVIATION = 1e-7


class Statistics:
    """Range, mean and variance of features, over chunks added one by one.

    Means and variances are joined as in Chan, Golub, LeVeque, *Updating formulae and a pairwise algorithm for
    computing sample variances* (1979), in float64.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._each = len(shape) == 1 and shape[0] <= MAX_VECTOR
        self._flat = len(shape) == 1
        width = shape[0] if self._each else 1
        self._count = 0
        self._mean = np.zeros(width)
        self._squares = np.zeros(width)
        self._lowest, self._highest = math.inf, -math.inf
        self._whole = True

    def add(self, features: np.ndarray) -> None:
        """Take in features uint8 or float32 [n, *shape]."""
        values = features.reshape(len(features) if self._each else -1, len(self._mean)).astype(np.float64)
        count = len(values)
        mean = values.mean(axis=0)
        values -= mean
        squares = np.einsum("ij,ij->j", values, values)
        delta, total = mean - self._mean, self._count + count
        self._mean += delta * (count / total)
        self._squares += squares + delta**2 * (self._count * count / total)
        self._count = total
        self._lowest = min(self._lowest, float(features.min()))
        self._highest = max(self._highest, float(features.max()))
        self._whole = self._whole and features.dtype == np.uint8

    def affine(self, normalize: Normalize) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Scale and shift, float32 numbers, one each or one a feature.

        `Scale` divides by the largest value: bytes by 255 if any is above 127, else by the highest of all.
        `Standardize` gives every feature mean 0 and deviation 1 (samples of several dimensions: all values
        together). `Auto` leaves 0/1 features and images within −1 … 1 alone, scales whole numbers and
        standardises all else.
        """
        if normalize == "Auto":
            if self._highest <= 1 and (self._whole or (self._lowest >= -1 and not self._flat)):
                normalize = "None"
            else:
                normalize = "Scale" if self._whole else "Standardize"
        if normalize == "None":
            return (1.0,), (0.0,)
        if normalize == "Scale":
            highest = max(abs(self._lowest), abs(self._highest))
            if self._whole and highest > 127:
                highest = 255.0
            return (_single(1 / highest) if highest > 0 else 1.0,), (0.0,)
        deviation = np.sqrt(self._squares / self._count)
        # A feature that never changes becomes 0, rather than its rounding errors enlarged.
        steady = deviation <= _LOWEST_DEVIATION * np.maximum(np.abs(self._mean), 1e-30)
        scale = np.where(steady, 1.0, 1 / np.where(steady, 1.0, deviation))
        return tuple(map(_single, scale)), tuple(map(_single, -self._mean * scale))


def _single(value: float) -> float:
    """The nearest float32 that is finite and not rounded to 0 by JSON's way through float64."""
    limit = float(np.finfo(np.float32).max)
    return float(np.float32(min(max(value, -limit), limit)))
