"""How far one column determines another, from a sample of their values."""

import numpy as np

FEW = 32
"""Numbers of so many different values are categories; of more they are binned."""
_TARGET_BINS = 16
_LEAST_ROWS = 5
"""Of a category or a bin. Those with fewer tell nothing: an id would determine everything."""


def determination(feature: np.ndarray, target: np.ndarray, *, words: bool, classes: bool) -> float:
    """The part of the target's entropy that is gone once the feature is known: 0 nothing, 1 all of it.

    I(X; T) / H(T) of float64 [m], by values, or by bins of as many rows each where there are many numbers; a missing
    value of the feature counts as one. `words`: the feature's numbers have no order. `classes`: nor have the target's.
    The bias of the estimates is taken off as by Miller (1955).
    """
    known = ~np.isnan(target)
    feature, target = feature[known], target[known]
    rows = len(target)
    if rows < 2 * _LEAST_ROWS:
        return 0.0
    given = _categories(feature, words=words, bins=FEW)
    sought = (
        np.unique(target, return_inverse=True)[1]
        if classes
        else _categories(target, words=False, bins=_TARGET_BINS)
    )
    of_given, of_sought = np.bincount(given), np.bincount(sought)
    pairs = np.unique(given.astype(np.int64) * len(of_sought) + sought, return_counts=True)[1]
    entropy = _entropy(of_sought)
    if entropy <= 0:
        return 0.0
    return float(np.clip((entropy + _entropy(of_given) - _entropy(pairs)) / entropy, 0.0, 1.0))


def _entropy(counts: np.ndarray) -> float:
    """In nats, with Miller's correction."""
    there = counts[counts > 0]
    if len(there) < 2:
        return 0.0
    total = there.sum()
    shares = there / total
    return float(-(shares * np.log(shares)).sum() + (len(there) - 1) / (2 * total))


def _categories(values: np.ndarray, *, words: bool, bins: int) -> np.ndarray:
    """int [m]: 0 where the value is missing, 1 where it is rare, and from 2 on its category or bin."""
    found = np.zeros(len(values), np.int64)
    there = ~np.isnan(values)
    kept = values[there]
    different, places, counts = np.unique(kept, return_inverse=True, return_counts=True)
    if words or len(different) <= bins:
        found[there] = np.where(counts[places] < _LEAST_ROWS, 1, places + 2)
        return found
    number = min(bins, len(kept) // _LEAST_ROWS)
    edges = np.unique(np.quantile(kept, np.arange(1, number) / number)) if number > 1 else np.zeros(0)
    found[there] = np.searchsorted(edges, kept, side="right") + 2
    return found
