"""A random number for each row, by the seed and the row's place: the same wherever it is computed."""

import numpy as np

from sapflow.data.group_split import mixed
from sapflow.preparation.batch import Batch

_ROWS = 40
"""A partition has fewer than 2^40 rows, and there are fewer than 2^24 partitions."""


def drawn(batch: Batch, seed: int) -> np.ndarray:
    """uint64 [n]: evenly spread, and different for each row of a source."""
    places = batch.numbers.astype(np.uint64) | np.uint64(batch.partition << _ROWS)
    return mixed(places, seed)


def bound(fraction: float) -> np.uint64:
    """That part of all numbers are below this."""
    return np.uint64(int(fraction * 2**64))
