"""Our steps and those of another side in turns, within one run, so that other load on the machine affects both."""

import time
from collections.abc import Callable

from sapflow.records.commits import Commit
from sapflow.steps.observer import Observer


class AlternatingBlocks(Observer):
    """Measures our steps between commits, and after each block lets the other side take its turn while our driver
    stands still.

    A step begins while the commit before it is written. So at the start of a turn our workers are still at the first
    step of the next block, and at its end they have done their part. That step is not counted, nor are others at the
    start of a block: `settle` in all; the other side leaves out the start of its turn likewise. The first block is not
    counted either.
    """

    def __init__(self, block: int, settle: int, others: Callable[[Commit], None]) -> None:
        """`block` is its number of steps; `others` is called after each but the first."""
        assert 1 <= settle < block
        self._block, self._settle, self._others = block, settle, others
        self._last = 0.0
        self.ours: list[float] = []
        self.commits: list[Commit] = []
        """Those of the steps in `ours`."""

    def committed(self, commit: Commit) -> None:
        now = time.perf_counter()
        done, within = divmod(commit.version, self._block)
        if done > 0 and (within == 0 or within > self._settle):
            self.ours.append(now - self._last)
            self.commits.append(commit)
        if within == 0 and done > 0:
            self._others(commit)
        self._last = time.perf_counter()
