"""What one optimiser is: its state vectors and how a block of parameters is updated."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sapflow.algorithms.hyperparameters import OptimizerSettings

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

BLOCK = 1 << 15
"""Elements updated at once. One pass of Adam touches five arrays: blocks of 32k keep them near the core, 64k and more
gain nothing more."""

Update = Callable[[Float32, Float32, list[Float32], Float32], None]
"""Updates blocks in place: parameters [m], their gradient [m], their state vectors, and scratch [m].

The gradient is free to be overwritten. A layerwise optimiser leaves its step there instead of taking it.
"""


def _no_slots(settings: OptimizerSettings) -> tuple[str, ...]:
    return ()


def _zero(settings: OptimizerSettings, slot: str) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Rule:
    """One optimiser's update rule; every rule is elementwise but for what a layerwise one leaves to `apply`."""

    update: Callable[[OptimizerSettings, float, int], Update]
    """The update of blocks under these settings, this learning rate, and this 1-based number of the update."""
    slots: Callable[[OptimizerSettings], tuple[str, ...]] = _no_slots
    """Names of the state vectors, in the order in which updates take them."""
    initial: Callable[[OptimizerSettings, str], float] = _zero
    """The value that fills a state vector before the first update."""


def add_scaled(target: Float32, source: Float32, factor: float, scratch: Float32) -> None:
    """target += factor · source."""
    np.multiply(source, factor, out=scratch)
    target += scratch
