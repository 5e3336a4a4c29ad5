"""Memory that a step frees is kept for the next one, which asks for as much again.

glibc gives large blocks back to the kernel as they are freed. A step then faults in every page of its activations
anew: 1,300 faults and 3 ms in a step of 50 ms, and on a busy machine more.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Options of mallopt(3), from glibc's malloc.h."""
_LARGEST_KEPT = 32 << 20
"""Bytes. glibc takes no larger threshold; blocks above it come and go as maps of their own."""
_NEVER = 2**31 - 1


def keep_freed_pages() -> None:
    """Let this process hold on to what it frees: it stays at its peak, and that is what limits are set for.

    To be called before threads allocate. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, _NEVER)
    mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    # The heaps of further arenas are unmapped when they run empty, whatever the threshold.
    mallopt(_ARENA_MAX, 1)
