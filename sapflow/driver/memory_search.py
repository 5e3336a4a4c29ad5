"""The search for the workers' memory size in a job at work: eqs. 5 to 9 of Feng et al. (2018) on measured steps.

Pure: what it knows is in the commit before, so that a driver that was killed goes on with it, and of two drivers each
goes on with the commit that won. Asking for a size is all that a driver does; the platform brings it, and functions
say with their answers which one they have.
"""

import math
import random
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sapflow.planning import memory_search
from sapflow.planning.memory_search import FIRST, Sizes, Trial
from sapflow.quantities.memory import MIB
from sapflow.records.memory_search import SearchSettings, SizeSearch, SizeTrial

if TYPE_CHECKING:
    from sapflow.records.commits import Commit

_SIGMA = 1.4826
"""Times the median deviation from the median: the standard deviation of a normal distribution."""
_OF_MEDIAN = 1.2533
"""Times the standard error of a mean: that of a median."""


class Sizing:
    """One job's search."""

    def __init__(self, settings: SearchSettings, full_samples: int) -> None:
        """`full_samples`: of a step that is not the cut end of an epoch."""
        self._settings, self._full_samples = settings, full_samples

    def first(self, commit: "Commit", needed_bytes: int) -> "Commit":
        """Version 0 with where the search begins."""
        return _with(commit, self.begin(needed_bytes))

    def next(self, old: "Commit", new: "Commit") -> "Commit":
        """`new`, which follows `old`, with where the search stands in it."""
        return _with(new, self.after(old, new))

    def begin(self, needed_bytes: int = 0) -> SizeSearch:
        """Before the first step. `needed_bytes`: what the model is estimated to need."""
        settings = self._settings
        least = min(max(settings.least, -(-needed_bytes // MIB)), settings.most)
        return SizeSearch(size=max(settings.start, least), least=least)

    def after(self, old: "Commit", new: "Commit") -> SizeSearch:
        """Where the search stands with `new`, which follows `old`."""
        search = old.measured.search or self.begin()
        search = search.model_copy(update={"least": max(search.least, self._settings.least)})
        if search.size < search.least:
            search = self._above_the_killed(search, new)
        if search.done:
            return search
        if not _is_warm(search, old, new):
            return search.model_copy(update={"started": new.account.seconds})
        if not self._counts(search, new):
            return search
        seconds, dollars = new.measured.seconds, sum(usage.cost_usd for usage in new.measured.levels)
        steps = [*search.steps, (seconds, dollars)]
        if len(steps) < self._settings.every_steps:
            return search.model_copy(update={"steps": steps})
        trials = [*search.trials, _trial(search.size, steps, new.version)]
        size = self._next(trials, search)
        update = {"trials": trials, "steps": [], "done": size is None}
        return search.model_copy(update=update | {"size": size or self._best(trials, search)})

    def _above_the_killed(self, search: SizeSearch, new: "Commit") -> SizeSearch:
        """The size wanted was killed for its memory, and the functions have been given another."""
        served = new.measured.memory_limits.get("worker", [])
        if len(served) != 1 or served[0] < search.least * MIB:
            return search
        update = {"size": -(-served[0] // MIB), "steps": [], "killed": search.killed + 1}
        return search.model_copy(update=update)

    def _counts(self, search: SizeSearch, new: "Commit") -> bool:
        """Whether a warm step tells what the size wanted takes: it is whole, and began when all had settled."""
        measured = new.measured
        settled = new.account.seconds - measured.seconds - search.started >= self._settings.settle_seconds
        return settled and measured.samples == self._full_samples and bool(measured.levels)

    def _next(self, trials: Sequence[SizeTrial], search: SizeSearch) -> int | None:
        settings = self._settings
        low, high = (-(-search.least // settings.step), settings.most // settings.step)
        if len(trials) + search.killed >= FIRST + settings.max_updates or low > high:
            return None
        sizes = Sizes(low * settings.step, high * settings.step, settings.step)
        if len({each.size for each in trials}) < FIRST:
            return memory_search.second(trials[-1].size, sizes, random.Random(settings.seed))
        return memory_search.following(_plain(trials), sizes, settings.goal)

    def _best(self, trials: Sequence[SizeTrial], search: SizeSearch) -> int:
        """Of the sizes tried that were not killed; the least that may be given, where all were."""
        usable = [each for each in _plain(trials) if each.size >= search.least]
        return memory_search.best(usable, self._settings.goal).size if usable else search.least


def _is_warm(search: SizeSearch, old: "Commit", new: "Commit") -> bool:
    """Whether all workers had the size wanted, in the step before too, and no function had to be started."""
    limits = new.measured.memory_limits.get("worker")
    return (
        limits == [search.size * MIB]
        and old.measured.memory_limits.get("worker") == limits
        and old.account.cold_starts == new.account.cold_starts
    )


def _plain(trials: Sequence[SizeTrial]) -> list[Trial]:
    return [Trial(each.size, each.seconds, each.cost_usd, each.error) for each in trials]


def _trial(size: int, steps: Sequence[tuple[float, float]], version: int) -> SizeTrial:
    """The medians over a size's steps: the mean of ten would tell of the one in which a node had other things to do."""
    seconds = [each for each, _ in steps]
    middle = statistics.median(seconds)
    scatter = _SIGMA * statistics.median(abs(each - middle) for each in seconds)
    error = _OF_MEDIAN * scatter / math.sqrt(len(seconds)) / middle
    dollars = statistics.median(each for _, each in steps)
    return SizeTrial(size=size, seconds=middle, cost_usd=dollars, error=error, step=version)


def _with(commit: "Commit", search: SizeSearch) -> "Commit":
    measured = commit.measured.model_copy(update={"search": search})
    return commit.model_copy(update={"measured": measured})
