"""The scaling of features, computed from statistics that are gathered while the source is cut."""

import math
from typing import Literal

import numpy as np

from sapflow.data.origin import width
from sapflow.quantities.moments import Moments

Normalize = Literal["Auto", "None", "Scale", "Standardize"]


class Statistics:
    """Range, mean and variance of features over all chunks added."""

    def __init__(self, shape: tuple[int, ...], *, centred: bool = False) -> None:
        """`centred`: an origin was subtracted, because float32 cannot tell apart the features as they are."""
        self._flat, self._centred = len(shape) == 1, centred
        self._width = width(shape)
        self._moments = Moments(self._width)
        self._lowest, self._highest = math.inf, -math.inf
        self._bytes = True

    def add(self, features: np.ndarray) -> None:
        """Add features uint8 or float32 [n, *shape]."""
        values = features.reshape(-1, self._width).astype(np.float64)
        self._moments.add(values)
        self._lowest = min(self._lowest, float(features.min()))
        self._highest = max(self._highest, float(features.max()))
        self._bytes = self._bytes and features.dtype == np.uint8

    def affine(self, normalize: Normalize) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Scale and shift as float32 numbers, either one each or one per feature.

        `Scale` divides by the largest absolute value, or by 255 for bytes of which any is above 127. `Standardize`
        gives every feature mean 0 and standard deviation 1; samples of several dimensions share one mean and
        deviation. `Auto` does not change 0/1 features and images within −1 … 1, scales bytes, and standardises
        everything else.
        """
        if normalize == "Auto":
            if self._centred:
                normalize = "Standardize"
            elif self._highest <= 1 and (self._bytes or (self._lowest >= -1 and not self._flat)):
                normalize = "None"
            else:
                normalize = "Scale" if self._bytes else "Standardize"
        if normalize == "None":
            return (1.0,), (0.0,)
        if normalize == "Scale":
            highest = max(abs(self._lowest), abs(self._highest))
            if self._bytes and highest > 127:
                highest = 255.0
            return (_single(1 / highest) if highest > 0 else 1.0,), (0.0,)
        moments = self._moments
        # A constant feature becomes 0; otherwise its rounding errors would be enlarged.
        steady = moments.steady
        scale = np.where(steady, 1.0, 1 / np.where(steady, 1.0, moments.deviation))
        return tuple(map(_single, scale)), tuple(map(_single, -moments.mean * scale))


def _single(value: float) -> float:
    """The nearest finite float32, as a Python float."""
    limit = float(np.finfo(np.float32).max)
    return float(np.float32(min(max(value, -limit), limit)))
