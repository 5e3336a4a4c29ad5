"""Permutations that are the same on every machine and with every version of numpy."""

import numpy as np


def permutation(count: int, *seed: int) -> np.ndarray:
    """The numbers 0 … count−1 as int64 [count], in a random order that follows from `seed`.

    numpy guarantees that Philox' raw stream never changes, but not `Generator.permutation`. The numbers are packed
    into the low bits of the random sort keys. That makes the keys distinct, so every sorting algorithm gives the same
    order.
    """
    low = np.uint64((1 << (count - 1).bit_length()) - 1) if count > 1 else np.uint64(0)
    keys = np.random.Philox(np.random.SeedSequence(seed)).random_raw(count)
    keys &= ~low
    keys |= np.arange(count, dtype=np.uint64)
    keys.sort()
    keys &= low
    return keys.view(np.int64)
