"""Orderly termination after Ctrl-C or SIGTERM."""

import asyncio
import signal
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any, TypeVar

from sapflow.client.threads import PatientThreads, StopOrder

Result = TypeVar("Result")
AGAIN_SECONDS = 0.5


class Stopped(BaseException):
    """A signal asked the process to end. It is no Exception, so that error handlers do not catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code by the shells' convention: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


@contextmanager
def stoppable(*, again_seconds: float = 0.0) -> Iterator[None]:
    """A context in which SIGINT and SIGTERM raise Stopped; with `again_seconds` repeatedly, until it takes effect.

    Any other exception after a signal becomes Stopped, too, because the interrupted code may turn the exception into
    one of its own, as pydantic does while it builds a schema.
    """
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if not received:
            if again_seconds:
                before[signal.SIGALRM] = signal.signal(signal.SIGALRM, again)
                signal.setitimer(signal.ITIMER_REAL, again_seconds, again_seconds)
            received.append(number)
        raise Stopped(received[0])

    def again(number: int, frame: FrameType | None) -> None:
        raise Stopped(received[0])

    before: dict[int, Any] = {
        number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    except KeyboardInterrupt as error:
        # Python's own handler is installed for a moment while that of an event loop is removed.
        raise Stopped(received[0] if received else signal.SIGINT) from error
    except BaseException as error:
        if not received or isinstance(error, Stopped):
            raise
        raise Stopped(received[0]) from error
    finally:
        if signal.SIGALRM in before:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def insistent() -> AbstractContextManager[None]:
    """`stoppable` for work without an event loop. The exception is raised again if it is lost inside a finaliser."""
    return stoppable(again_seconds=AGAIN_SECONDS)


def run_until_stopped(work: Coroutine[Any, Any, Result]) -> Result:
    """`asyncio.run` in which SIGINT and SIGTERM cancel the work, so that it can clean up. Raises Stopped.

    A further signal within seconds does not disturb the clean-up; a later one ends that, too.
    """
    return asyncio.run(_guarded(work))


async def _guarded(work: Coroutine[Any, Any, Result]) -> Result:
    loop, threads = asyncio.get_running_loop(), PatientThreads()
    loop.set_default_executor(threads)
    task = asyncio.ensure_future(work)
    order = StopOrder(task)
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        order.cancel()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        threads.stopped = True
        raise Stopped(received[0]) from None
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
