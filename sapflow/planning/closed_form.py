"""The closed form of Feng, Kudva, Da Silva, Hu (CLOUD 2018), section III-C: the merge tree of least latency.

n workers, k levels of mergers between them and the root, m_i mergers on level i counted from the workers. The paper
lets the widths be real numbers; `rounded` makes a structure of them. `structure.closed_form` solves the same problem
with integer fan-ins from the start.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from sapflow.quantities.structure import Structure

MOST_LEVELS = 2
"""The paper's bound on k: more hops of data are more chances of a loss."""


def latency(widths: Sequence[float], merge_seconds: float = 1.0) -> float:
    """Eq. 1: t = t_m (n/m_1 + m_1/m_2 + … + m_{k−1}/m_k + m_k), for widths root first, (1, m_k, …, m_1, n).

    `merge_seconds` is t_m. Fan-ins are quotients, which a real tree rounds up: see `structure.latency`.
    """
    return merge_seconds * sum(below / above for above, below in pairwise(widths))


def gradient(widths: Sequence[float], merge_seconds: float = 1.0) -> list[float]:
    """Eq. 2: ∂t/∂m_i = t_m (1/m_{i+1} − m_{i−1}/m_i²), in the order of the widths between root and workers."""
    triples = zip(widths, widths[1:], widths[2:], strict=False)
    return [merge_seconds * (1 / above - below / here**2) for above, here, below in triples]


def optimum(workers: int, k: int) -> tuple[float, ...]:
    """Eq. 3: the widths at which eq. 2 is zero, root first: m_k^(k+1) = n and m_i = m_k^(k−i+1)."""
    fan_in: float = workers ** (1 / (k + 1))
    return (1.0, *(fan_in**power for power in range(1, k + 1)), float(workers))


def least_latency(workers: int, k: int, merge_seconds: float = 1.0) -> float:
    """Eq. 4: t_min = t_m (k+1) n^(1/(k+1)), which is eq. 1 at eq. 3."""
    fan_in: float = workers ** (1 / (k + 1))
    return merge_seconds * (k + 1) * fan_in


def best_k(workers: int, most: int = MOST_LEVELS) -> int:
    """The k of least t_min, at most `most`.

    Without a bound dt_min/dk = 0 gives k = ln n − 1; the better of the two integers beside it is taken.
    """
    free = math.log(workers) - 1
    choices = {min(most, max(0, integer)) for integer in (math.floor(free), math.ceil(free))}
    return min(choices, key=lambda k: (least_latency(workers, k), k))


def rounded(workers: int, k: int | None = None) -> Structure:
    """Eq. 3 rounded to integers as the paper does it: 100 workers and k = 2 give (1, 5, 22, 100).

    Without `k` it is `best_k`.
    """
    widths = optimum(workers, best_k(workers) if k is None else k)
    return (1, *(max(1, round(width)) for width in widths[1:-1]), workers)
