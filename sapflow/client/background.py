"""Work in a background thread that can be stopped. It has its own event loop, independent of the caller's."""

import asyncio
import atexit
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from sapflow.client.threads import PatientThreads, StopOrder

Result = TypeVar("Result")
Value = TypeVar("Value")
_LEAVING_SECONDS = 10.0
"""How long the program's exit waits for runs to stop in an orderly way, in seconds."""


class Cancelled(BaseException):
    """The work was stopped. It is no Exception, so that error handlers do not catch it."""


class Background(Generic[Result]):
    """Work in a daemon thread. It is stopped if the program ends first."""

    def __init__(self, name: str, work: "Callable[[Background[Result]], Result]") -> None:
        """Start it. `work` gets this object, by which it runs coroutines and asks whether it is to stop."""
        self.name = name
        self.stopped = False
        self._work = work
        self._over = threading.Event()
        self._lock = threading.RLock()  # a signal's handler may stop what is just being stopped
        self._order: StopOrder | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._result: Result | None = None
        self._error: BaseException | None = None
        _UNFINISHED.add(self)
        threading.Thread(target=self._main, name=name, daemon=True).start()

    @property
    def over(self) -> bool:
        """Whether the work has ended, with or without a result."""
        return self._over.is_set()

    @property
    def error(self) -> BaseException | None:
        """The exception with which the work ended, or None."""
        return self._error

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds, and return whether the work has ended."""
        return self._over.wait(timeout)

    def result(self) -> Result:
        """The result of the work, which has ended; raises the work's exception."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # None only before it has ended

    def stop(self) -> None:
        """Ask the work to stop in an orderly way; `wait` returns when it has."""
        with self._lock:
            self.stopped = True
            if self._order is not None and self._loop is not None:
                self._loop.call_soon_threadsafe(self._order.cancel)

    def check(self) -> None:
        """For the work itself: raise Cancelled if it is to stop."""
        if self.stopped:
            raise Cancelled

    def run(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        """For the work itself: `asyncio.run`, which is cancelled if the work is to stop. Raises Cancelled."""
        try:
            return asyncio.run(self._guarded(coroutine))
        except asyncio.CancelledError:
            raise Cancelled from None

    async def _guarded(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        threads = PatientThreads()
        loop = asyncio.get_running_loop()
        loop.set_default_executor(threads)
        task = asyncio.ensure_future(coroutine)
        order = StopOrder(task)
        with self._lock:
            self._loop, self._order = loop, order
            if self.stopped:
                order.cancel()
        try:
            return await task
        finally:
            threads.stopped = self.stopped
            with self._lock:
                self._loop = self._order = None

    def _main(self) -> None:
        try:
            self._result = self._work(self)
        except BaseException as error:  # noqa: BLE001  # whoever waits is told of it, whatever it is
            self._error = error
        finally:
            _UNFINISHED.discard(self)
            self._over.set()


_UNFINISHED: "weakref.WeakSet[Background[Any]]" = weakref.WeakSet()


def run_apart(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run` in a thread, so that it also works if an event loop is running. Ctrl-C stops it."""
    work = Background[Result]("sapflow", lambda background: background.run(coroutine))
    try:
        work.wait()
    except BaseException:
        work.stop()
        raise
    return work.result()


def _stop_all() -> None:
    left = list(_UNFINISHED)
    for each in left:
        each.stop()
    for each in left:
        each.wait(_LEAVING_SECONDS)
        print(f"{each.name} was stopped, because the program has ended: wait() for it", file=sys.stderr)


# This runs before thread pools refuse further work, which an orderly end needs; `atexit` would be too late.
getattr(threading, "_register_atexit", atexit.register)(_stop_all)
