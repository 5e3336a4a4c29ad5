"""A typical step by level of the merge tree, for whoever judges by what steps took."""

import statistics
from collections.abc import Sequence

from sapflow.records.commits import Leg


def typical(steps: Sequence[Sequence[Leg]]) -> list[Leg]:
    """Of each level, workers first, the median of each figure over the steps that have it."""
    depth = max(map(len, steps), default=0)
    return [_median([legs[level] for legs in steps if level < len(legs)]) for level in range(depth)]


def _median(legs: Sequence[Leg]) -> Leg:
    phases = sorted({name for leg in legs for name in leg.phases})
    return Leg(
        calls=round(statistics.median(leg.calls for leg in legs)),
        seconds=statistics.median(leg.seconds for leg in legs),
        slowest=statistics.median(leg.slowest for leg in legs),
        phases={name: statistics.median(leg.phases.get(name, 0.0) for leg in legs) for name in phases},
        bytes_read=round(statistics.median(leg.bytes_read for leg in legs)),
        bytes_written=round(statistics.median(leg.bytes_written for leg in legs)),
    )
