"""Keeps memory that a step frees for the next step, which needs as much again.

glibc returns large blocks to the kernel when they are freed. Then every step has page faults for all its activations:
1,300 faults and 3 ms in a step of 50 ms, and more on a busy machine.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Options of mallopt(3), from glibc's malloc.h."""
_LARGEST_KEPT = 32 << 20
"""The largest threshold in bytes that glibc accepts. Larger blocks are mapped and unmapped separately."""
_NEVER = 2**31 - 1


def keep_freed_pages() -> None:
    """Let this process keep the memory that it frees. It stays at its peak, which memory limits are set for anyway.

    Call this before threads allocate. Does nothing if the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, _NEVER)
    mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
    # Heaps of further arenas are unmapped when they are empty, whatever the threshold.
    mallopt(_ARENA_MAX, 1)
