"""A typical step by level of the merge tree: the medians of several steps."""

import statistics
from collections.abc import Sequence

from sapflow.records.commits import LevelUsage


def typical(steps: Sequence[Sequence[LevelUsage]]) -> list[LevelUsage]:
    """For each level, workers first, the median of each figure over the steps that have this level."""
    depth = max(map(len, steps), default=0)
    return [_median([levels[level] for levels in steps if level < len(levels)]) for level in range(depth)]


def _median(levels: Sequence[LevelUsage]) -> LevelUsage:
    phases = sorted({name for usage in levels for name in usage.phases})
    latencies = [usage.child_latency for usage in levels if usage.child_latency is not None]
    return LevelUsage(
        calls=round(statistics.median(usage.calls for usage in levels)),
        seconds=statistics.median(usage.seconds for usage in levels),
        slowest=statistics.median(usage.slowest for usage in levels),
        phases={name: statistics.median(usage.phases.get(name, 0.0) for usage in levels) for name in phases},
        bytes_read=round(statistics.median(usage.bytes_read for usage in levels)),
        bytes_written=round(statistics.median(usage.bytes_written for usage in levels)),
        child_latency=statistics.median(latencies) if latencies else None,
    )
