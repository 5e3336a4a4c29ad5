"""The interface of pruning. A pruner learns what is known, in the order of the log, and says what is to be done next.

It holds nothing that does not follow from the entries of the log, so a restart builds it again. Its scores are those of
the first objective, of which more is better. Of two trials with the same score the one with the smaller number is
better."""

from abc import ABC, abstractmethod

from sapflow.tuning.actions import Fork, Stop
from sapflow.tuning.entries import Train
from sapflow.tuning.trial import Trial

Move = tuple[Train | Stop | Fork, ...]
"""Entries that are written together; none: there is nothing to do."""


class Pruner(ABC):
    """Life of a trial: `first`, `trained`, then `reported` and `trained` in turn, at last `ended`."""

    @abstractmethod
    def first(self, number: int, length: int) -> int:
        """The units after which a new trial of this length, in units, reports for the first time."""

    @abstractmethod
    def next(self, number: int, more: bool) -> Move:
        """What is to be done with the trials there are. Changes nothing.

        `number` is that of the next new trial; `more`: whether there will be trials that are no forks.
        """

    def leftover(self) -> Move:
        """What is to be done where the search would end now: nothing runs, nothing is to begin, and `next` is empty."""
        return ()

    def kept(self, number: int) -> set[int]:
        """Versions of a trial that a fork may still begin at, beside the last one that it has reported."""
        return set()

    def trained(self, trial: Trial, to: int) -> None:  # noqa: B027
        """A trial has been told to train until `to`."""

    def reported(self, trial: Trial, at: int, score: float, version: int) -> None:  # noqa: B027
        """A paused trial's score at `at` units is known."""

    def ended(self, trial: Trial, score: float | None) -> None:  # noqa: B027
        """A trial does not go on. `score`: what it has finished with; None where it was stopped or has failed."""
