"""How far a job is, from its commits: steps, rate, time left. Pure; clocks are handed in."""

import statistics
from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from sapflow.planning.extent import Extent
from sapflow.records.commits import Commit

_RECENT = 50
"""Commits that the seconds per step are the median of."""
_ENOUGH = 5


@dataclass(frozen=True, slots=True)
class _Seen:
    time: float
    done: int
    cold_starts: int


class Progress:
    """What is known of a running job: the newest commit, the newest evaluation, and the recent rate."""

    def __init__(self, extent: Extent) -> None:
        self.extent = extent
        self.commit: Commit | None = None
        self.evaluated: tuple[int, float, float | None] | None = None
        """Version, loss and accuracy of the newest version evaluated."""
        self._seen: deque[_Seen] = deque(maxlen=_RECENT + 1)

    def committed(self, commit: Commit, now: float) -> None:
        """Take in a commit seen at `now`, in seconds of any clock."""
        self.commit = commit
        self._seen.append(_Seen(now, self.done, commit.account.cold_starts))

    def take_evaluation(self, version: int, loss: float, accuracy: float | None) -> None:
        """Take in an evaluation; they may come out of order."""
        if self.evaluated is None or version > self.evaluated[0]:
            self.evaluated = (version, loss, accuracy)

    @property
    def done(self) -> int:
        return 0 if self.commit is None else min(self.extent.done(self.commit), self.extent.total)

    @property
    def seconds_per_unit(self) -> float | None:
        """The median of recent commits' seconds for one step (asynchronous: one contribution).

        Steps in which functions had to be started say little of the rest: they count only where there is
        nothing else, and there are a few.
        """
        pairs = [(before, after) for before, after in pairwise(self._seen) if after.done > before.done]
        warm = [(before, after) for before, after in pairs if after.cold_starts == before.cold_starts]
        if not warm and len(pairs) < _ENOUGH:
            return None
        return statistics.median(
            (after.time - before.time) / (after.done - before.done) for before, after in warm or pairs
        )

    @property
    def seconds_left(self) -> float | None:
        """An estimate that assumes the recent rate to last."""
        rate = self.seconds_per_unit
        return None if rate is None else rate * (self.extent.total - self.done)
