"""The origin of features that lie far from zero, such as Unix seconds.

float32 has 24 bits: of 1,700,000,223 it keeps 1,700,000,256, so that all seconds of eight minutes become five values.
The distance from a number among them fits, and standardising features undoes the subtraction.
"""

import numpy as np

MAX_VECTOR = 16_384
"""Up to this many features are standardised one by one; more share one mean, which keeps the manifest small."""
_ROWS = 4096
_NOTICEABLE = 1e-6
"""Rounding errors below this part of a feature's deviation are no larger than those of standardised float32."""
_EXACT = float(1 << 24)
"""Up to here float32 holds every whole number."""


def width(shape: tuple[int, ...]) -> int:
    """The number of features of such samples that are scaled one by one; 1 where all are scaled alike."""
    return shape[0] if len(shape) == 1 and shape[0] <= MAX_VECTOR else 1


def far_origin(features: np.ndarray) -> np.ndarray | None:
    """What to subtract from features [n, *shape], of which these are the first: float64 [1] or [features].

    It is one of a feature's values where float32 would lose what tells them apart, and 0 elsewhere. None: 0 for all.
    """
    if features.dtype == np.float32 or features.dtype.itemsize < 4:
        return None
    values = features[:_ROWS].reshape(-1, width(features.shape[1:])).astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32)
    if not np.isfinite(rounded).all():
        return None
    error = np.abs(values - rounded).max(axis=0)
    deviation = values.std(axis=0)
    # Later values of a feature that is constant so far may differ by little.
    constant = values.min(axis=0) == values.max(axis=0)
    far = np.where(constant, (error > 0) | (np.abs(values[0]) >= _EXACT), error > _NOTICEABLE * deviation)
    if not far.any():
        return None
    middle = np.sort(values, axis=0)[len(values) // 2]
    return np.where(far, middle, 0.0)
