"""Repeats requests that nobody has begun to serve, and a few whose connection broke, until a deadline."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from sapflow.errors import InstanceLost
from sapflow.runtimes import handover
from sapflow.runtimes.http.sender import NotConnected

LOST = 2
"""How often a call is repeated after its connection broke, as happens to all connections of a gateway that ends."""
LONGEST_PAUSE = 2.0

T = TypeVar("T")


async def repeated(
    attempt: Callable[[], Awaitable[T]],
    *,
    seen: Callable[[T], bool],
    deadline: float,
    first_pause: float,
    lost: int | None = LOST,
) -> T:
    """What `attempt` returns, which is made again until a function has seen the request, or the time.monotonic() value
    `deadline` is near; then the last answer, `seen` or not.

    Raises NotConnected if there was no connection by then, and InstanceLost also if connections broke more than `lost`
    times; None: any number of times. What else `attempt` raises ends it.
    """
    broken = 0
    for pause in pauses(first_pause):
        answer: list[T] = []
        failure: InstanceLost | None = None
        try:
            answer.append(await attempt())
        except NotConnected as error:
            failure = error
            handover.not_had()
        except InstanceLost as error:
            failure, broken = error, broken + 1
            handover.waits()
            if lost is not None and broken > lost:
                raise
        if answer:
            if seen(answer[0]):
                return answer[0]
            handover.not_had()
        if time.monotonic() + pause >= deadline:
            if failure is not None:
                raise failure
            return answer[0]
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")


def pauses(first: float) -> Iterator[float]:
    """Growing pauses between tries, in seconds, without end."""
    pause = first
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(LONGEST_PAUSE, 2 * pause)
