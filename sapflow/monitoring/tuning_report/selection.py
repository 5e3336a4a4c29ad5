"""Which trials a page draws one by one where there are too many for all of them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sapflow.monitoring.tuning_report.facts import SearchFacts
from sapflow.tuning.trial import Trial

T = TypeVar("T")

MOST = 1_500
"""The most trials that are drawn."""
_CELLS = 24_000
"""The most values of parameters that are drawn; with many parameters fewer trials are."""
_BEST = 1 / 3
"""The part of the drawn trials that is for the best ones."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The trials that are drawn, by number, and how they were chosen."""

    trials: tuple[Trial, ...]
    all: int
    """Trials that there are."""
    best: int
    """How many of the best are among the drawn ones for that."""

    @property
    def complete(self) -> bool:
        return len(self.trials) == self.all


def room(parameters: int) -> int:
    """How many trials a page has room for, whose trials have so many parameters."""
    return max(100, min(MOST, _CELLS // max(parameters, 1)))


def select(facts: SearchFacts, most: int) -> Selection:
    """At most `most` trials: the best, a front's among them, and of the others those that lie evenly among them."""
    if len(facts.trials) <= most:
        return Selection(tuple(facts.trials), len(facts.trials), len(facts.trials))
    best = evenly(facts.front, most // 6) if len(facts.settings.objectives) > 1 else []
    best = list(dict.fromkeys([*best, *facts.ranked[: int(most * _BEST)]]))
    taken = {trial.number for trial in best}
    others = [trial for trial in facts.trials if trial.number not in taken]
    found = [*best, *evenly(others, most - len(best))]
    return Selection(tuple(sorted(found, key=lambda trial: trial.number)), len(facts.trials), len(best))


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, which lie evenly among them, the first and the last included."""
    if len(items) <= most:
        return list(items)
    if most < 2:
        return list(items[:most])
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]
