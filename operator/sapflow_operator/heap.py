"""Gives back to the node what many jobs at once have taken.

Every event of a pod is parsed into some ten thousand objects. What is freed among objects that stay is returned
neither by Python's own allocator, which gives back only whole arenas of 1 MiB, nor by the C library's of itself. So
the chart sets PYTHONMALLOC to malloc, and the C library is asked to return every free page now and then: an operator
that had 50 jobs at once then takes half as much.
"""

import asyncio
import ctypes
import gc
import sys

EVERY_SECONDS = 15.0


async def keep_trimmed() -> None:
    """Trim for ever; to be cancelled."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        trim()


def trim() -> None:
    """Return the pages that are free. Does nothing where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        gc.collect()
        library.malloc_trim(0)
