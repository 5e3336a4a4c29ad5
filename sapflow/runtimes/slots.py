"""A limit on concurrent calls: a semaphore whose waiters are served in order, urgent ones first.

Jobs that share it take turns, so that one with many workers does not keep the others waiting for all of them.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

from sapflow.runtimes import handover


class Slots:
    """A semaphore for `count` holders. Urgent waiters are served before others; in each class the jobs take turns, and
    each job's waiters are served in order, save where one that is released suits another of them better."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"count is {count}: at least one call must be able to run")
        self.count = count
        self._free = count
        self._urgent, self._ordinary = _Line(), _Line()

    async def acquire(self, *, urgent: bool, job: str = "", call: Hashable = None) -> None:
        """Wait for a slot; no instance has the current call until its sender says so (`handover.begins`).

        `job`: whose call it is, where several jobs share the slots. `call`: what `release` knows it by.
        """
        handover.waits()
        if self._free > 0:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        line = self._urgent if urgent else self._ordinary
        line.append(job, waiter, call)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # The waiter got a slot and was cancelled in the same loop iteration, so the slot is passed on.
                self.release()
            else:
                line.remove(job, waiter)
            raise

    def release(self, suits: Callable[[Hashable], bool] | None = None) -> None:
        """Give a slot back: of the job whose turn it is, to the first waiter whose call `suits`, else to the first."""
        for line in (self._urgent, self._ordinary):
            while (waiter := line.pop(suits)) is not None:
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._free += 1


Waiter = asyncio.Future[None]


class _Line:
    """Waiters, of one job after another."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, deque[tuple[Waiter, Hashable]]] = OrderedDict()

    def append(self, job: str, waiter: Waiter, call: Hashable) -> None:
        self._jobs.setdefault(job, deque()).append((waiter, call))

    def pop(self, suits: Callable[[Hashable], bool] | None) -> Waiter | None:
        """The next waiter, whose job then is the last to have another turn; None where nobody waits."""
        if not self._jobs:
            return None
        job, waiters = next(iter(self._jobs.items()))
        chosen = waiters[0]
        if suits is not None:
            chosen = next((each for each in waiters if suits(each[1])), chosen)
        waiters.remove(chosen)
        self._jobs.move_to_end(job)
        if not waiters:
            del self._jobs[job]
        return chosen[0]

    def remove(self, job: str, waiter: Waiter) -> None:
        waiters = self._jobs.get(job)
        found = next((each for each in waiters or () if each[0] is waiter), None)
        if waiters is not None and found is not None:
            waiters.remove(found)
            if not waiters:
                del self._jobs[job]
