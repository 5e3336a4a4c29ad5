"""The search for the workers' memory size in a running job: eqs. 5 to 9 of Feng et al. (2018) on measured steps.

Pure: its state is in the previous commit. So a restarted driver continues it, and of two drivers each continues with
the commit that won. The driver only asks for a size. The platform provides it, and functions report the size that they
have with their answers.
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
"""Standard deviation of a normal distribution divided by its median absolute deviation from the median."""
_OF_MEDIAN = 1.2533
"""Standard error of a median divided by that of a mean."""


class MemorySearch:
    """One job's search."""

    def __init__(self, settings: SearchSettings, full_samples: int) -> None:
        """`full_samples` is the number of samples of every step but the last one of an epoch."""
        self._settings, self._full_samples = settings, full_samples

    def first(self, commit: "Commit", needed_bytes: int) -> "Commit":
        """Version 0 with the initial state of the search."""
        return _with(commit, self.begin(needed_bytes))

    def next(self, old: "Commit", new: "Commit") -> "Commit":
        """`new`, which follows `old`, with the state of the search after it."""
        return _with(new, self.after(old, new))

    def begin(self, needed_bytes: int = 0) -> SizeSearch:
        """The state before the first step. `needed_bytes` is the estimate of what the model needs."""
        settings = self._settings
        least = min(max(settings.least, -(-needed_bytes // MIB)), settings.most)
        return SizeSearch(size=max(settings.start, least), least=least)

    def after(self, old: "Commit", new: "Commit") -> SizeSearch:
        """The state of the search after `new`, which follows `old`."""
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
        """The state after workers of the wanted size were killed for memory and got another size."""
        served = new.measured.memory_limits.get("worker", [])
        if len(served) != 1 or served[0] < search.least * MIB:
            return search
        update = {"size": -(-served[0] // MIB), "steps": [], "killed": search.killed + 1}
        return search.model_copy(update=update)

    def _counts(self, search: SizeSearch, new: "Commit") -> bool:
        """Whether a warm step counts for the wanted size: it is a full step and began after the settling time."""
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
        """The best of the sizes tried that were not killed, or the least that is allowed if all were."""
        usable = [each for each in _plain(trials) if each.size >= search.least]
        return memory_search.best(usable, self._settings.goal).size if usable else search.least


def _is_warm(search: SizeSearch, old: "Commit", new: "Commit") -> bool:
    """Whether all workers had the wanted size in this step and the one before, and no function had to be started."""
    limits = new.measured.memory_limits.get("worker")
    return (
        limits == [search.size * MIB]
        and old.measured.memory_limits.get("worker") == limits
        and old.account.cold_starts == new.account.cold_starts
    )


def _plain(trials: Sequence[SizeTrial]) -> list[Trial]:
    return [Trial(each.size, each.seconds, each.cost_usd, each.error) for each in trials]


def _trial(size: int, steps: Sequence[tuple[float, float]], version: int) -> SizeTrial:
    """The medians over a size's steps. A mean would be dominated by a single step in which a node was busy."""
    seconds = [each for each, _ in steps]
    middle = statistics.median(seconds)
    scatter = _SIGMA * statistics.median(abs(each - middle) for each in seconds)
    error = _OF_MEDIAN * scatter / math.sqrt(len(seconds)) / middle
    dollars = statistics.median(each for _, each in steps)
    return SizeTrial(size=size, seconds=middle, cost_usd=dollars, error=error, step=version)


def _with(commit: "Commit", search: SizeSearch) -> "Commit":
    measured = commit.measured.model_copy(update={"search": search})
    return commit.model_copy(update={"measured": measured})
