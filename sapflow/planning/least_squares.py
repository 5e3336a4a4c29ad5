"""Least squares with coefficients that may not be negative, because seconds are not."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_TOLERANCE = 1e-10


def non_negative(matrix: ArrayLike, values: ArrayLike) -> Floats:
    """The vector x ≥ 0 of shape [columns] that minimises |matrix · x − values|².

    `matrix` has shape [rows, columns], `values` [rows]. The method is the active sets of Lawson and Hanson (1974).
    """
    a, b = np.asarray(matrix, np.float64), np.asarray(values, np.float64)
    x = np.zeros(a.shape[1])
    free = np.zeros(a.shape[1], bool)
    scale = _TOLERANCE * max(1.0, float(np.abs(a.T @ b).max(initial=0.0)))
    for _ in range(3 * a.shape[1]):
        pull = np.where(free, -np.inf, a.T @ (b - a @ x))
        if pull.max(initial=-np.inf) <= scale:
            break
        free[int(pull.argmax())] = True
        x = _step(a, b, x, free)
    return x


def _step(a: Floats, b: Floats, x: Floats, free: NDArray[np.bool_]) -> Floats:
    """Move from x to the least-squares solution over the free columns; coefficients that would become negative are
    fixed at zero."""
    while True:
        goal = np.zeros_like(x)
        goal[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
        falling = free & (goal <= 0)
        if not falling.any():
            return goal
        part = float((x[falling] / np.maximum(x[falling] - goal[falling], 1e-300)).min())
        x = x + part * (goal - x)
        free &= ~(falling & (x <= _TOLERANCE * max(1.0, float(np.abs(x).max()))))
        x[~free] = 0.0


def r_squared(measured: ArrayLike, predicted: ArrayLike) -> float:
    """The share of the variance of `measured` that `predicted` explains: 1 − Σ residual² / Σ deviation²."""
    y, fit = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    return float(1 - ((y - fit) ** 2).sum() / ((y - y.mean()) ** 2).sum())
