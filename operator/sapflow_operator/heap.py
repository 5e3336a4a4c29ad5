"""Gives back to the node what many jobs at once have taken.

Every event of a pod is parsed into some ten thousand objects. What is freed among objects that stay is returned
neither by Python's own allocator, which gives back only whole arenas of 1 MiB, nor by the C library's of itself. So
the chart sets PYTHONMALLOC to malloc, and the C library is asked to return every free page after each growth: an
operator that had 50 jobs at once then takes 100 MiB instead of 132. ADR 10 says what the rest is.
"""

import asyncio
import ctypes
import gc
import resource
import sys
from pathlib import Path

EVERY_SECONDS = 15.0
GROWTH = 1 << 20
"""Bytes: an operator that has grown by less since it was last trimmed is left alone, so that an idle one idles."""

ROUNDS = 4
"""Trims after each growth: pods are seen to go half a minute after their jobs have ended."""


async def keep_trimmed() -> None:
    """Trim whenever that may be of use, for ever; to be cancelled."""
    trimmed = rounds = 0
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        if resident() >= trimmed + GROWTH:
            rounds = ROUNDS
        if rounds:
            trim()
            rounds, trimmed = rounds - 1, resident()


def resident() -> int:
    """Bytes of this process in memory; 0 where Linux does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return 0
    return pages * resource.getpagesize()


def trim() -> None:
    """Return the pages that are free. Does nothing where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        gc.collect()
        library.malloc_trim(0)
