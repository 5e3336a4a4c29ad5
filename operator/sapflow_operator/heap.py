"""Gives back to the node what many jobs at once have taken.

Every event of a pod is parsed into some ten thousand objects. What is freed among objects that stay is returned
neither by Python's own allocator, which gives back only whole arenas of 1 MiB, nor by the C library's, whose heap is
one sequence of pieces of all sizes. So the chart sets PYTHONMALLOC to malloc and preloads jemalloc, which keeps sizes
apart and returns empty pages after a second (ADR 10). What is left to do here is to have garbage in cycles freed:
Python itself collects it only when much more has come.
"""

import asyncio
import gc
import resource
from pathlib import Path

EVERY_SECONDS = 15.0
GROWTH = 1 << 20
"""Bytes: an operator that has grown by less since the last collection is left alone, so that an idle one idles."""

ROUNDS = 4
"""Collections after each growth: pods are seen to go half a minute after their jobs have ended."""


async def keep_small() -> None:
    """Collect whenever that may be of use, for ever; to be cancelled."""
    gc.collect()
    # What is there now stays: with it set aside the collector, which waits for a quarter of what it walks, runs often.
    gc.freeze()
    seen = rounds = 0
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        if resident() >= seen + GROWTH:
            rounds = ROUNDS
        if rounds:
            gc.collect()
            rounds, seen = rounds - 1, resident()


def resident() -> int:
    """Bytes of this process in memory; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0
    return pages * resource.getpagesize()
