"""The search for the best memory size of the workers that all trials of a search share: eqs. 5 to 9 on their calls.

A job judges a size by its own steps. Trials may do different work, so a call is compared only with calls of trials that
do the same: that differ in nothing but numbers which do not change what a step computes, as a learning rate. Each such
group g has a factor; with size z a call of it takes factor(g) x value(z). A size is valued by the groups whose factors
earlier sizes have told, and then tells those of new groups. Queues, cold starts and the other calls of a step are left
out: what is compared is what a warm worker's call is billed for. Pure.
"""

import math
import random
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from sapflow.messages.message import Message
from sapflow.objects import keys
from sapflow.planning import memory_search
from sapflow.planning.memory_search import FIRST, Sizes
from sapflow.quantities.memory import MIB
from sapflow.records.memory_search import SearchSettings, SizeTrial
from sapflow.spec.tuning_rules import KEEPS_SHAPES, LENGTHS
from sapflow.tuning.actions import Parameters

LEAST_CALLS = 3
"""Calls of a group below which it says nothing."""
PATIENCE = 4
"""After so many times the calls that judge a size, those do that can be compared, or the search ends if none can."""
ROOM = 8
"""A size leaves this fraction of the highest use of memory free: another trial may need more."""
MOST_GROUPS = 256
"""Groups whose factors are remembered."""
_KEEP_WORK = re.compile(f"{KEEPS_SHAPES}|{LENGTHS}")
_SIGMA, _OF_MEDIAN = 1.4826, 1.2533
"""Of a normal distribution: its standard deviation by the median deviation, the error of a median by that of a mean."""


class Factor(Message):
    """What a call of a group takes, as a multiple of a size's value."""

    seconds: float
    dollars: float


class PoolSizes(Message):
    """The state of the search, as the log has it when a size was judged."""

    size: int
    """MiB that workers are to have now."""
    least: int
    trials: list[SizeTrial] = []
    """Sizes tried, their mean seconds and dollars of a call, and the relative standard errors of these."""
    factors: dict[str, Factor] = Field(default_factory=dict)
    """By group."""
    killed: int = 0
    """Sizes whose workers were killed for memory; each counts as an update."""
    done: bool = False


def group_of(parameters: Parameters) -> str:
    """What tells trials that do other work in a step from those that do the same."""
    return keys.digest({path: value for path, value in parameters.items() if not _KEEP_WORK.search(path)})


@dataclass(frozen=True, slots=True)
class WorkerCall:
    """A warm worker's call for a step of a trial, which has done all of its work."""

    group: str
    seconds: float
    dollars: float
    memory: int
    """The limit of its instance in bytes."""
    peak: int
    """The most memory in bytes that the instance has used."""


class PoolSizeSearch:
    """Takes in calls, and says which size workers are to have."""

    def __init__(self, settings: SearchSettings, workers: int, state: PoolSizes | None = None) -> None:
        """`workers` of a step; with `settings.every_steps` they say how many calls judge a size. `state` is what an
        earlier driver has come to; what it had measured of the size since then is measured again."""
        self._settings, self._calls = settings, max(settings.every_steps * workers, LEAST_CALLS)
        start = max(settings.start, settings.least)
        self.state = state or PoolSizes(size=start, least=settings.least)
        if self.state.least < settings.least:
            self.state = self.state.model_copy(update={"least": settings.least})
        self._seen: dict[str, list[tuple[float, float]]] = {}
        self._since: float | None = None
        self._peak = 0

    def take(self, call: WorkerCall, now: float) -> bool:
        """Take in a call that has ended at `now`, in seconds of any clock. Whether `state` has changed by it."""
        self._peak = max(self._peak, call.peak)
        state = self.state
        if state.size < state.least and call.memory >= state.least * MIB:
            # Workers were killed with the size wanted, and have been given another.
            self._begin({"size": -(-call.memory // MIB), "killed": state.killed + 1})
            return True
        if state.done or call.memory != state.size * MIB:
            return False
        if self._since is None:
            self._since = now
        if now - self._since < self._settings.settle_seconds:
            return False
        self._seen.setdefault(call.group, []).append((call.seconds, call.dollars))
        comparable = self._comparable()
        enough = sum(map(len, comparable.values())) >= self._calls
        if not enough and sum(map(len, self._seen.values())) < PATIENCE * self._calls:
            return False
        if comparable:
            self._judge(comparable)
        else:
            self._begin({"size": self._best(state.trials), "done": True})
        return True

    def _comparable(self) -> Mapping[str, Sequence[tuple[float, float]]]:
        """The calls that value the size: of groups whose factors are known, of all groups for the first size."""
        known = self.state.factors
        return {
            group: calls
            for group, calls in self._seen.items()
            if len(calls) >= LEAST_CALLS and (group in known or not self.state.trials)
        }

    def _judge(self, comparable: Mapping[str, Sequence[tuple[float, float]]]) -> None:
        state = self.state
        medians = {group: _medians(calls) for group, calls in comparable.items()}
        ones = Factor(seconds=1.0, dollars=1.0)
        seconds = _mean(medians[group][0] / state.factors.get(group, ones).seconds for group in medians)
        dollars = _mean(medians[group][1] / state.factors.get(group, ones).dollars for group in medians)
        errors = [error for _, _, error in medians.values()]
        error = math.sqrt(sum(each**2 for each in errors)) / len(errors)
        trial = SizeTrial(size=state.size, seconds=seconds, cost_usd=dollars, error=error)
        trials = [*state.trials, trial]
        factors = dict(state.factors)
        for group, calls in self._seen.items():
            if len(calls) >= LEAST_CALLS and group not in factors:
                middle = _medians(calls)
                factors[group] = Factor(seconds=middle[0] / seconds, dollars=middle[1] / dollars)
        size = self._next(trials)
        kept = dict(list(factors.items())[-MOST_GROUPS:])
        update = {"trials": trials, "factors": kept, "done": size is None}
        self._begin(update | {"size": size or self._best(trials)})

    def _begin(self, update: Mapping[str, object]) -> None:
        """The next state, whose size is yet to be measured."""
        self.state = self.state.model_copy(update=dict(update))
        self._seen, self._since = {}, None

    def _next(self, trials: Sequence[SizeTrial]) -> int | None:
        settings = self._settings
        used = -(-self._peak * (ROOM + 1) // (ROOM * MIB))
        low = -(-max(self.state.least, used) // settings.step) * settings.step
        high = settings.most // settings.step * settings.step
        if len(trials) + self.state.killed >= FIRST + settings.max_updates or low > high:
            return None
        sizes = Sizes(low, high, settings.step)
        if len({each.size for each in trials}) < FIRST:
            return memory_search.second(trials[-1].size, sizes, random.Random(settings.seed))
        return memory_search.following(_plain(trials), sizes, settings.goal)

    def _best(self, trials: Sequence[SizeTrial]) -> int:
        """The best of the sizes tried that were not killed, or the least that is allowed if all were."""
        usable = [each for each in _plain(trials) if each.size >= self.state.least]
        return memory_search.best(usable, self._settings.goal).size if usable else self.state.least


def _plain(trials: Sequence[SizeTrial]) -> list[memory_search.Trial]:
    return [memory_search.Trial(each.size, each.seconds, each.cost_usd, each.error) for each in trials]


def _medians(calls: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Median seconds and dollars of calls, and the relative standard error of the seconds."""
    seconds = [each for each, _ in calls]
    middle = statistics.median(seconds)
    scatter = _SIGMA * statistics.median(abs(each - middle) for each in seconds)
    error = _OF_MEDIAN * scatter / math.sqrt(len(seconds)) / middle
    return middle, statistics.median(dollars for _, dollars in calls), error


def _mean(values: Iterable[float]) -> float:
    """The geometric mean: groups count alike whatever their work is."""
    return math.exp(statistics.fmean(math.log(each) for each in values))
