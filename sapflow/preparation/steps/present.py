"""A step's columns that a batch has: at prediction rows need not have the target, nor what is dropped later."""

from collections.abc import Iterable

import numpy as np

from sapflow.preparation.batch import Batch


def numbers_of(batch: Batch, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The columns of numbers of these names that the batch has, float64 [n]."""
    found = {}
    for name in names:
        column = batch.columns.get(name)
        if isinstance(column, np.ndarray):
            found[name] = column
    return found
