"""Asynchronous successive halving (Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020), by
pausing: every trial is paused at a rung, and one goes on as soon as it is among the best 1/η of all that have reached
the rung. A paused trial costs nothing and can go on at any time, so none is stopped.

Rung k is at r·η^k units, the last at the full length. With r = 1, η = 4, R = 16 the trials together have 16 % of the
grid's length: 1 + (4 − 1)/4 + (16 − 4)/16 = 2.5 of 16 units each.

Judged early, some go on that are not among the best in the end; where trials get better in the course of a search, that
costs two or three times as much. So no more go on than 1/η of those that have reached a rung, the best that wait first.
When the last trial has begun, a quarter more may, so that the best ones go on however late they came. That keeps a
search within 20 % of the grid.
"""

from bisect import bisect_left, insort
from dataclasses import dataclass, field

from sapflow.tuning.entries import Train
from sapflow.tuning.pruners.pruner import Move, Pruner
from sapflow.tuning.trial import Trial

RESERVE = 4
"""One for so many that were to go on may do so besides, once no more trials begin."""

Place = tuple[float, int]
"""(−score, number): the best is the least."""


@dataclass(slots=True)
class Rung:
    """The trials that have got to a length."""

    at: int
    reached: list[Place] = field(default_factory=list)
    """All whose score is known, best first."""
    waiting: list[Place] = field(default_factory=list)
    """Those that are paused here, best first."""

    left: int = 0
    """How many have gone on."""

    def best(self, factor: int, more: bool) -> Place | None:
        """The best one that is paused here, if it is to go on: it is among the best 1/factor, and not too many have.
        `more`: whether others will get here."""
        count = len(self.reached) // factor
        most = count if more else count + max(1, count // RESERVE)
        if count and self.waiting and self.left < most and self.waiting[0] <= self.reached[count - 1]:
            return self.waiting[0]
        return None


def rungs_of(first: int, factor: int, length: int) -> list[int]:
    """The lengths at which trials are judged, and the full one."""
    found = [min(first, length)]
    while found[-1] < length:
        found.append(min(length, found[-1] * factor))
    return found


class Asha(Pruner):
    """One bracket: every trial begins at the first rung."""

    def __init__(self, first: int, factor: int, length: int) -> None:
        self._factor = factor
        self._rungs = [Rung(at) for at in rungs_of(first, factor, length)]
        self._index = {rung.at: place for place, rung in enumerate(self._rungs)}
        self._places: dict[int, tuple[int, Place]] = {}
        """By trial: the rung at which it is paused, and its place there."""

    @property
    def empty(self) -> bool:
        """Whether no trial's score is known."""
        return not any(rung.reached for rung in self._rungs)

    def first(self, number: int, length: int) -> int:
        return self._rungs[0].at

    def next(self, number: int, more: bool) -> Move:
        for index in reversed(range(len(self._rungs) - 1)):
            best = self._rungs[index].best(self._factor, more)
            if best is not None:
                return (Train(best[1], self._rungs[index + 1].at),)
        return ()

    def leftover(self) -> Move:
        """The best trial goes on as long as none has got to the end: a search of few trials has a result, too."""
        if self._rungs[-1].reached:
            return ()
        for index in reversed(range(len(self._rungs) - 1)):
            if self._rungs[index].waiting:
                return (Train(self._rungs[index].waiting[0][1], self._rungs[index + 1].at),)
        return ()

    def trained(self, trial: Trial, to: int) -> None:
        if (index := self._leave(trial.number)) is not None:
            self._rungs[index].left += 1

    def reported(self, trial: Trial, at: int, score: float, version: int) -> None:
        index, place = self._index[at], (-score, trial.number)
        insort(self._rungs[index].reached, place)
        insort(self._rungs[index].waiting, place)
        self._places[trial.number] = (index, place)

    def ended(self, trial: Trial, score: float | None) -> None:
        self._leave(trial.number)
        if score is not None:
            insort(self._rungs[self._index[trial.to]].reached, (-score, trial.number))

    def _leave(self, number: int) -> int | None:
        """Take a trial off the rung at which it is paused, if it is; that rung's place."""
        if (found := self._places.pop(number, None)) is None:
            return None
        index, place = found
        waiting = self._rungs[index].waiting
        del waiting[bisect_left(waiting, place)]
        return index
