"""The thread that runs one call at a time, and the context of a call.

torch needs all its work on one thread, and a function serves one call at a time. Meanwhile the event loop stays free
for probes.
"""

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sapflow.channels.channels import Channels
from sapflow.errors import InvocationError
from sapflow.messages.message import Message
from sapflow.objects.stores.protocol import Store


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler gets in addition to its request."""

    store: Store
    channels: Channels
    deadline: float = math.inf
    """The value of time.monotonic() at which the platform ends this call."""
    memory_bytes: int | None = None
    """The function's memory limit, if the platform tells it."""
    runs_on: bool = False
    """Whether the process also runs between calls, so that it may go on with work that no answer waits for."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set when nobody needs the answer any more: the instance must stop, or the caller has disconnected."""

    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def give_up_if_cancelled(self) -> None:
        """Call this between units of work. Raises a retryable InvocationError once `cancelled` is set."""
        if self.cancelled.is_set():
            raise InvocationError(
                "the instance is shutting down or its caller hung up; send the request again",
                reason="ShuttingDown",
                retryable=True,
            )


T = TypeVar("T")

Handler = Callable[[dict[str, Any], Context], Message]


class Runner:
    """The dedicated thread. It has one caller at a time, which must check `busy` before `run`."""

    def __init__(self) -> None:
        self.busy = False
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="sapflow-call", daemon=True).start()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work`, which must not raise, on the thread. `busy` is true until it ends, even if nobody awaits it."""
        self.busy = True
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((work, answer))
        return await answer

    def _work(self) -> None:
        while True:
            work, answer = self._calls.get()
            result = work()
            answer.get_loop().call_soon_threadsafe(self._finish, answer, result)

    def _finish(self, answer: asyncio.Future[T], result: T) -> None:
        self.busy = False
        if not answer.done():
            answer.set_result(result)
