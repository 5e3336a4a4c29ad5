"""The median rule (Golovin et al., "Google Vizier", KDD 2017): a trial is stopped if its best score so far is below the
median of the best scores so far of all that have got as far."""

from bisect import insort

from sapflow.tuning.actions import Stop
from sapflow.tuning.entries import Train
from sapflow.tuning.pruners.pruner import Move, Pruner
from sapflow.tuning.trial import Trial


class Median(Pruner):
    """Judges a trial whenever it reports; it goes on at once or is stopped."""

    def __init__(self, first: int, interval: int, startup: int, length: int) -> None:
        self._first, self._interval, self._startup, self._length = first, interval, startup, length
        self._best: dict[int, float] = {}
        self._scores: dict[int, list[float]] = {}
        """By length: the best scores so far of all trials that have got there, ascending."""
        self._moves: dict[int, Train | Stop] = {}

    def first(self, number: int, length: int) -> int:
        return min(self._first, length)

    def next(self, number: int, more: bool) -> Move:
        return next(((move,) for move in self._moves.values()), ())

    def trained(self, trial: Trial, to: int) -> None:
        self._moves.pop(trial.number, None)

    def reported(self, trial: Trial, at: int, score: float, version: int) -> None:
        best = self._best[trial.number] = max(score, self._best.get(trial.number, score))
        others = self._scores.setdefault(at, [])
        count = len(others)
        if count >= self._startup and best < (others[(count - 1) // 2] + others[count // 2]) / 2:
            self._moves[trial.number] = Stop(trial.number, "Pruned")
        else:
            self._moves[trial.number] = Train(trial.number, min(at + self._interval, self._length))
        insort(others, best)

    def ended(self, trial: Trial, score: float | None) -> None:
        self._moves.pop(trial.number, None)
        self._best.pop(trial.number, None)
