"""Time inside an invocation: the rest of its limit, and the seconds of each phase."""

import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sapflow.cpu_capability import cpu_capability
from sapflow.errors import InvocationError
from sapflow.library_versions import library_versions

MARGIN = 1.5
"""A unit of work is started only if this many times its last duration is left."""


class Timing:
    """The clock of an invocation.

    `deadline` is a time.monotonic() value; `cancelled` is set when the instance is told to stop.
    """

    def __init__(self, deadline: float, cancelled: threading.Event | None = None) -> None:
        self.deadline = deadline
        self.seconds: dict[str, float] = {}
        self.bytes = {"read": 0, "written": 0}
        self.child_latency: float | None = None
        """The least seconds until one of a remote store's children began to arrive."""
        self._cancelled = cancelled
        self._longest_unit = 0.0
        self._unit_started: float | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the seconds of the block under `name`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    @contextmanager
    def child_begins(self) -> Iterator[None]:
        """Take the seconds of the block for those until a child of a remote store begins to arrive."""
        started = time.perf_counter()
        yield
        taken = time.perf_counter() - started
        if self.child_latency is None or taken < self.child_latency:
            self.child_latency = taken

    def may_start(self) -> bool:
        """Whether another unit of work (a micro-batch, a group of children) fits into the remaining time.

        The first unit may always start; if it takes too long, the platform ends the invocation.
        Raises a retryable InvocationError if the instance is shutting down.
        """
        if self._cancelled is not None and self._cancelled.is_set():
            raise InvocationError(
                "the instance is shutting down; send the request to another",
                reason="ShuttingDown",
                retryable=True,
            )
        now = time.monotonic()
        if self._unit_started is None:
            self._unit_started = now
            return True
        self._longest_unit = max(self._longest_unit, now - self._unit_started)
        self._unit_started = now
        return self.deadline - now > MARGIN * self._longest_unit

    def report(self) -> dict[str, Any]:
        """The part of an answer with time, bytes, memory, CPU and libraries."""
        return {
            "seconds": self.seconds,
            "bytes": self.bytes,
            "peakMemoryBytes": peak_memory(),
            "cpu": cpu_capability(),
            "libraries": library_versions(),
        }


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes."""
    peak = _peak()
    return peak if peak > _INHERITED or sys.platform != "linux" else _high_water_mark()


def _peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _high_water_mark() -> int:
    with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - pathlib would double the cost
        found = status.read().partition(b"VmHWM:")[2]
    return int(found.split(maxsplit=1)[0]) * 1024


def anonymous_memory() -> int | None:
    """The resident memory of this process that no file backs, in bytes; None where the system does not tell."""
    try:
        with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - pathlib would double the cost
            found = status.read()
    except OSError:
        return None
    kinds = (found.partition(name)[2].split(maxsplit=1) for name in (b"RssAnon:", b"RssShmem:"))
    return sum(int(words[0]) for words in kinds if words) * 1024


_INHERITED = _peak()
"""Linux hands the peak of the process that started us on through exec: a peak below it is not seen by getrusage."""
