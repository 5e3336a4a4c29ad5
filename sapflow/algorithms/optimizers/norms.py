"""Norms over fixed blocks, which have the same bits however a vector is divided on block boundaries, and clipping."""

import math

import numpy as np

from sapflow.algorithms.optimizers.rule import BLOCK, Float32, Float64

_MIN_NORM_BLOCK = 1 << 10
_MAX_NORM_BLOCKS = 1 << 12
_CLIP_EPSILON = 1e-6


def block_size(parameters: int) -> int:
    """The number of elements of a norm block: a power of two ≥ 1,024 with at most 4,096 blocks in a vector.

    It depends only on the number of parameters. Shards are cut between blocks, so the norms, and with them the weights,
    are the same for every number of shards.
    """
    block = _MIN_NORM_BLOCK
    while -(-parameters // block) > _MAX_NORM_BLOCKS:
        block *= 2
    return block


def squared_norms(vector: Float32, block: int) -> Float64:
    """Sums of squares of each block of `vector` [n], in float64 [⌈n/block⌉]; the last block may be short.

    This does not use BLAS, whose order of summation depends on threads and sizes. Each block is a row of numpy's
    pairwise sum, whose order depends only on the block's length.
    """
    count = -(-vector.size // block)
    norms = np.empty(count, np.float64)
    group = max(1, BLOCK // block)
    squares = np.empty(min(group * block, vector.size), np.float64)
    with np.errstate(invalid="ignore"):
        for first in range(0, count, group):
            part = vector[first * block : (first + group) * block]
            window = squares[: part.size]
            window[:] = part
            window *= window
            full = part.size // block
            np.add.reduce(
                window[: full * block].reshape(full, block), axis=1, out=norms[first : first + full]
            )
            if part.size % block:
                norms[first + full] = np.add.reduce(window[full * block :])
    return norms


def finite(norms: Float64) -> bool:
    """Whether the vector behind these norms has neither NaN nor infinity."""
    return bool(np.isfinite(norms).all())


def norm(vector: Float32) -> float:
    """The Euclidean norm of a vector [n], with a fixed order of summation."""
    return math.sqrt(math.fsum(squared_norms(vector, block_size(vector.size))))


def clip_scale(norms: Float64, weight: float, max_norm: float | None) -> float:
    """The factor for the *averaged* gradient that makes its global norm at most `max_norm`.

    `norms` are those of the summed gradient, and `weight` is its divisor. The formula is that of
    torch.nn.utils.clip_grad_norm_: max_norm / (norm + 1e-6), at most 1. With None nothing is clipped.
    """
    if max_norm is None:
        return 1.0
    if weight <= 0:
        raise ValueError(f"a gradient of weight {weight} has no average")
    norm = math.sqrt(math.fsum(norms)) / weight
    return min(1.0, max_norm / (norm + _CLIP_EPSILON))
