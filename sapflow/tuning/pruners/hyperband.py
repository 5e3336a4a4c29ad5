"""Hyperband (Li et al., JMLR 2018) of pausing brackets: several ASHA, each with a longer first rung than the one
before.

Bracket s of s_max … 0 begins at r·η^(s_max − s) units. Trials are dealt to the brackets by their numbers, as many to
each as Hyperband gives it: ⌈(s_max + 1)/(s + 1) · η^s⌉ of a round."""

import math

from sapflow.tuning.pruners.asha import Asha, rungs_of
from sapflow.tuning.pruners.pruner import Move, Pruner
from sapflow.tuning.trial import Trial


class Hyperband(Pruner):
    """Brackets of `Asha`."""

    def __init__(self, first: int, factor: int, length: int) -> None:
        firsts = rungs_of(first, factor, length)
        last = len(firsts) - 1
        self._brackets = [Asha(at, factor, length) for at in firsts]
        self._shares = [
            math.ceil((last + 1) / (last - place + 1) * factor ** (last - place)) for place in range(last + 1)
        ]

    def bracket(self, number: int) -> Asha:
        """The bracket of a trial."""
        place = number % sum(self._shares)
        for bracket, share in zip(self._brackets, self._shares, strict=True):
            if place < share:
                return bracket
            place -= share
        raise AssertionError("unreachable")

    def first(self, number: int, length: int) -> int:
        return self.bracket(number).first(number, length)

    def next(self, number: int, more: bool) -> Move:
        return next((move for bracket in self._brackets if (move := bracket.next(number, more))), ())

    def leftover(self) -> Move:
        """The best trial of the first bracket that has any, as long as none at all has got to the end."""
        found = [bracket.leftover() for bracket in self._brackets if not bracket.empty]
        return found[0] if found and all(found) else ()

    def trained(self, trial: Trial, to: int) -> None:
        self.bracket(trial.number).trained(trial, to)

    def reported(self, trial: Trial, at: int, score: float, version: int) -> None:
        self.bracket(trial.number).reported(trial, at, score, version)

    def ended(self, trial: Trial, score: float | None) -> None:
        self.bracket(trial.number).ended(trial, score)
