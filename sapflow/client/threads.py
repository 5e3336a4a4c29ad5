"""Event loops whose work may be stopped: their threads, and the order to stop."""

import asyncio
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

PATIENCE_SECONDS = 3.0
"""How long to wait for threads that are busy when a run is stopped, in seconds."""
INSISTENCE_SECONDS = 5.0
"""An order to stop that comes so many seconds after the last one cancels what cleans up, too."""


class StopOrder:
    """Cancels a task, once for orders that follow each other closely.

    A second Ctrl-C, or the stop that follows a signal's, would otherwise strike the task while it cleans up.
    """

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self._task = task
        self._next = float("-inf")

    def cancel(self) -> None:
        """Cancel the task, unless it was cancelled a moment ago. Only for the thread of its event loop."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + INSISTENCE_SECONDS
            self._task.cancel()


class PatientThreads(ThreadPoolExecutor):
    """Threads of an event loop. If the work is stopped, it waits for them only for a while, so that a store that never
    answers does not block the exit."""

    def __init__(self) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self.stopped = False
        self._under_way: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait and not self.stopped, cancel_futures=cancel_futures or self.stopped)
        if self.stopped and wait:
            futures.wait(list(self._under_way), timeout=PATIENCE_SECONDS)
