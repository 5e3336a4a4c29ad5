"""Computes the rows of requests that wait at the same time in one forward. Each caller gets its own rows, in order."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from sapflow.serving.raw_rows import RawRows, joined
from sapflow.serving.served_model import Computed

Compute = Callable[[RawRows], Computed]


@dataclass(frozen=True, slots=True)
class _Waiting:
    rows: RawRows
    answer: "asyncio.Future[Computed]"


class Batcher:
    """One forward at a time, in a thread of its own. What comes meanwhile is computed together next."""

    def __init__(self, compute: Compute, most_rows: int, wait_seconds: float = 0.0) -> None:
        """`compute` gives what it gives for a row whatever other rows are with it. `wait_seconds` is how long a request
        waits for others. A request of more than `most_rows` is computed by itself."""
        self._compute, self._most_rows, self._wait = compute, most_rows, wait_seconds
        self._thread = ThreadPoolExecutor(1, "sapflow-forward")
        self._waiting: deque[_Waiting] = deque()
        self._task: asyncio.Task[None] | None = None
        self.forwards = 0
        """Forwards so far."""

    async def compute(self, rows: RawRows) -> Computed:
        """What the model gives for the rows of one request. Raises what the model raises for them."""
        answer: asyncio.Future[Computed] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(rows, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return await answer

    def close(self) -> None:
        """End the thread. Requests that wait are never answered."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _work(self) -> None:
        if self._wait:
            await asyncio.sleep(self._wait)
        try:
            while self._waiting:
                await self._forward(self._taken())
        finally:
            self._task = None

    def _taken(self) -> list[_Waiting]:
        """The requests of the next forward, in the order in which they came."""
        taken: list[_Waiting] = []
        count = 0
        while self._waiting and (not taken or count + self._waiting[0].rows.count <= self._most_rows):
            each = self._waiting.popleft()
            if not each.answer.done():  # its caller may have gone
                taken.append(each)
                count += each.rows.count
        return taken

    async def _forward(self, taken: Sequence[_Waiting]) -> None:
        if not taken:
            return
        loop = asyncio.get_running_loop()
        self.forwards += 1
        forward = loop.run_in_executor(self._thread, self._compute, joined([each.rows for each in taken]))
        (outcome,) = await asyncio.gather(forward, return_exceptions=True)
        if isinstance(outcome, Computed):
            _hand_out(taken, outcome)
        elif len(taken) > 1:
            # A row of one caller must not fail the others.
            for each in taken:
                await self._forward([each])
        elif not taken[0].answer.done():
            taken[0].answer.set_exception(outcome)


def _hand_out(taken: Sequence[_Waiting], computed: Computed) -> None:
    first = 0
    for each in taken:
        last = first + each.rows.count
        bad = tuple(replace(one, row=one.row - first) for one in computed.bad if first <= one.row < last)
        if not each.answer.done():
            each.answer.set_result(Computed(computed.outputs[first:last], computed.features[first:last], bad))
        first = last
