"""The progress of a job, from its commits: steps, rate, time left. Pure; times are arguments."""

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from sapflow.planning.extent import Extent
from sapflow.records.commits import Commit

_RECENT = 50
"""Number of commits for the median of the seconds per step."""
_ENOUGH = 5


@dataclass(frozen=True, slots=True)
class _Seen:
    time: float
    done: int
    cold_starts: int


class Progress:
    """The state of a running job: the newest commit, the newest evaluation, and the recent rate."""

    def __init__(self, extent: Extent) -> None:
        self.extent = extent
        self.commit: Commit | None = None
        self.evaluated: tuple[int, Mapping[str, float]] | None = None
        """The newest version that was evaluated, and its metrics by name."""
        self._seen: deque[_Seen] = deque(maxlen=_RECENT + 1)

    def committed(self, commit: Commit, now: float) -> None:
        """Add a commit that was seen at `now`, in seconds of any clock."""
        self.commit, self.extent = commit, self.extent.after(commit)
        self._seen.append(_Seen(now, self.done, commit.account.cold_starts))

    def take_evaluation(self, version: int, metrics: Mapping[str, float]) -> None:
        """Add an evaluation. Evaluations may come out of order."""
        if self.evaluated is None or version > self.evaluated[0]:
            self.evaluated = (version, metrics)

    @property
    def done(self) -> int:
        return 0 if self.commit is None else min(self.extent.done(self.commit), self.extent.total)

    @property
    def seconds_per_unit(self) -> float | None:
        """The median seconds of recent commits for one step (in asynchronous mode for one contribution).

        Steps in which functions had to be started are no measure for the others. They count only if there are a few of
        them and no other steps.
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
        """An estimate, which assumes that the recent rate continues."""
        rate = self.seconds_per_unit
        return None if rate is None else rate * (self.extent.total - self.done)
