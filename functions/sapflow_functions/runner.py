"""One thread that runs one call at a time, and what a call is given.

torch wants all its work on one thread, and a function serves one call at a time; the event loop stays free for
probes meanwhile.
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
    """What a handler gets beside its request."""

    store: Store
    channels: Channels
    deadline: float = math.inf
    """time.monotonic() value at which the platform ends this call."""
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Set when the answer is of no use any more: the instance is told to stop, or the caller hung up."""

    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    def give_up_if_cancelled(self) -> None:
        """To be called between units of work. Raises a retryable InvocationError once `cancelled` is set."""
        if self.cancelled.is_set():
            raise InvocationError(
                "the instance is shutting down or its caller hung up; send the request again",
                reason="ShuttingDown",
                retryable=True,
            )


T = TypeVar("T")

Handler = Callable[[dict[str, Any], Context], Message]


class Runner:
    """The dedicated thread. One caller at a time: look at `busy` before `run`."""

    def __init__(self) -> None:
        self.busy = False
        self._calls: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="sapflow-call", daemon=True).start()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work`, which must not raise, on the thread. `busy` holds until it ends, awaited or not."""
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
