"""Permutations that are the same on every machine and under every version of numpy."""

import numpy as np


def permutation(count: int, *seed: int) -> np.ndarray:
    """The numbers 0 … count−1 as int64 [count], in an order drawn from `seed`.

    Philox' raw stream is guaranteed never to change, unlike `Generator.permutation`. The numbers are packed
    into the keys' low bits: keys are then distinct, so that any sorting algorithm gives the same order, the
    vectorised one too.
    """
    low = np.uint64((1 << (count - 1).bit_length()) - 1) if count > 1 else np.uint64(0)
    keys = np.random.Philox(np.random.SeedSequence(seed)).random_raw(count)
    keys &= ~low
    keys |= np.arange(count, dtype=np.uint64)
    keys.sort()
    keys &= low
    return keys.view(np.int64)
