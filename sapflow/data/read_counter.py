"""Counts what is read of a data set: the one place that knows how many bytes blocks cost, and how long they took.

Reads may be made ahead, by another thread and between two calls; they count in the call that takes the counts next.
"""

import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataRead:
    """What was read of blocks since the counts were taken before."""

    bytes: int = 0
    """Bytes that came from the store, headers of blocks included; what is warm costs none."""
    seconds: float = 0.0
    """Seconds inside the store's reads, summed over threads, whether or not anybody waited for them."""
    requests: int = 0
    """Reads of the store."""


class ReadCounter:
    """Sums of reads until they are taken. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sum = DataRead()

    def add(self, count: int, seconds: float) -> None:
        """Count one read of the store."""
        with self._lock:
            before = self._sum
            self._sum = DataRead(before.bytes + count, before.seconds + seconds, before.requests + 1)

    def take(self) -> DataRead:
        """The sums so far, which begin anew."""
        with self._lock:
            taken, self._sum = self._sum, DataRead()
        return taken
