"""An event loop whose clock jumps: waiting costs nothing, and the same program always runs in the same order."""

import asyncio
import gc
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Inline(ThreadPoolExecutor):
    """Runs what is submitted at once, in the caller."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it, a simulated death included)
            done.set_exception(error)
        return done


class VirtualSelector(selectors.SelectSelector):
    """Never waits; the time that it was to wait has then passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("deadlock: nothing is under way that anybody could wait for")
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """One thread, no I/O: `to_thread` runs inline, timers fire in order without any waiting."""

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)
        self.set_default_executor(Inline(1))

    def time(self) -> float:
        return self._virtual.now

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is no thread to wait for."""


def run(main: Coroutine[Any, Any, T], *, expected: tuple[type[BaseException], ...] = ()) -> T:
    """Run to the end in virtual time. Raises what a task raised that nobody waited for, `expected` ones apart."""
    lost: list[BaseException] = []

    def notice(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        if not isinstance(error, expected):
            lost.append(error)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_exception_handler(notice)
        result = runner.run(main)
        gc.collect(0)
    if lost:
        raise lost[0]
    return result
