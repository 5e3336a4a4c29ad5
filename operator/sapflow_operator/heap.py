"""Returns memory to the node after many jobs ran at once.

Every event of a pod is parsed into about ten thousand objects. If they are freed among objects that stay, neither
Python's allocator nor that of the C library returns the memory: the first returns only complete arenas of 1 MiB, and
the heap of the second is one sequence of pieces of all sizes. So the chart sets PYTHONMALLOC to malloc and preloads
jemalloc, which separates sizes and returns empty pages after a second (ADR 10). This module only has to collect
garbage in cycles, which Python itself collects much later.
"""

import asyncio
import gc
import resource
from pathlib import Path

EVERY_SECONDS = 15.0
GROWTH = 1 << 20
"""Bytes by which the operator must have grown since the last collection, so that an idle one stays idle."""

ROUNDS = 4
"""Number of collections after each growth, because pods disappear half a minute after their jobs have ended."""


async def keep_small() -> None:
    """Collect garbage whenever that may be useful. Runs until it is cancelled."""
    gc.collect()
    # Existing objects are frozen: the collector waits for growth by a quarter of what it walks, so it then runs often.
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
    """Resident bytes of this process; 0 if the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0
    return pages * resource.getpagesize()
