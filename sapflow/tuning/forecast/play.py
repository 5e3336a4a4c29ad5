"""Plays a search in virtual time: the search's own decisions, trials that take what they are said to, random scores.

Trials that run at the same time share calls in flight, the driver and, on one machine, its cores. Where these are not
enough, all of them are slowed alike: a trial that takes S seconds alone, with C seconds of calls, has C/S calls in
flight on average; the sum over all trials, divided by the calls that there may be, is the factor.

What is known of a search's calls is only their average, so the play is for many draws and no prediction of one run. A
goal is left out, because nobody knows the scores, and so are failures.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from sapflow.tuning.actions import Finished, Fork, Parameters, Report, Stop, Stopped
from sapflow.tuning.decide import decide
from sapflow.tuning.entries import Asked, Begin, End, Entry, Train
from sapflow.tuning.forecast.expense import Expense, TrialCost
from sapflow.tuning.settings import Limits, Settings
from sapflow.tuning.state import State

_ANY_NUMBER = 1 << 30
_PERSISTENCE = 0.25
"""Standard deviation of a score at one length beside that of trials: how they are ranked mostly stays."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What trials share."""

    calls: int
    """Calls that can be at work at once: N, or fewer instances."""
    cores: int | None = None
    """Cores of the machine that driver and functions run on together; None: each function has its own."""
    worst_call: float = 0.0
    """Dollars that a call may cost at worst; so much is kept free in the budget for each one in flight."""
    start: float = 0.0
    """Seconds until the first functions have started."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A set of parameters that a trial may have, and what the trial takes."""

    parameters: Parameters
    cost: TrialCost
    rank: float = 0.0
    """How dear it is among all, as a normal score: −1 is cheaper than five in six."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What one play came to."""

    seconds: float
    dollars: float
    ended_by: str
    trials: Counter[str]
    """How many trials stand how, by phase in lower case; `begun` is all of them."""


@dataclass(slots=True)
class _Advance:
    """A trial that is trained from `at` to `to`; `used` until it is done."""

    trial: int
    to: int
    used: Expense
    begun: float
    """In virtual seconds, as all times here."""

    @property
    def at_once(self) -> float:
        """Calls in flight, on average."""
        return self.used.calls / self.used.seconds

    @property
    def driven(self) -> float:
        """The share of its time in which the driver works for it."""
        return self.used.driver / self.used.seconds

    @property
    def rate(self) -> float:
        """Dollars a second."""
        return self.used.dollars / self.used.seconds


class Play:
    """One search, from its first trial to its end. `run` may be called once."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        candidate: Callable[[int], Candidate],
        capacity: Capacity,
        random: Random,
        *,
        slower: float = 1.0,
        likeness: float = 0.0,
    ) -> None:
        """`candidate` has the parameters of the trial of a number. All trials take `slower` times what is said.
        `likeness`, −1 to 1, is the correlation of scores with what trials cost."""
        settings = replace(
            settings, objectives=tuple(replace(each, goal=None) for each in settings.objectives)
        )
        self._settings, self._candidate, self._capacity = settings, candidate, capacity
        self._random, self._slower, self._likeness = random, slower, likeness
        self._state = State(settings)
        self._state.apply(limits)
        self._limits = limits
        self._costs: list[TrialCost] = []
        self._quality: list[float] = []
        self._spent: list[Expense] = []
        """By trial: what it has used at the end of its last advance."""
        self._queue: list[tuple[float, int, _Advance]] = []
        self._under_way: dict[int, _Advance] = {}
        self._count = 0
        self._now = capacity.start
        self._virtual = 0.0
        self._sums = [0.0, 0.0, 0.0]
        """Of all trials under way: calls in flight, share of the driver, dollars a second."""
        self._dollars = 0.0

    def run(self) -> Draw:
        """Play to the end of the search."""
        state = self._state
        while state.over is None:
            while found := decide(state, _ANY_NUMBER, self._left):
                for entry in found:
                    self._carry_out(entry)
            if state.over is None:
                self._wait()
        counts = Counter(trial.phase.lower() for trial in state.trials)
        counts["begun"] = len(state.trials)
        return Draw(self._now, self._dollars, state.over.reason, counts)

    @property
    def _left(self) -> float | None:
        limit = self._limits.budget_usd
        if limit is None:
            return None
        in_flight = min(self._sums[0], self._capacity.calls)
        return max(0.0, limit - self._dollars - in_flight * self._capacity.worst_call)

    def _carry_out(self, entry: Entry) -> None:
        state = self._state
        match entry:
            case Asked(number):
                state.apply(entry)
                state.take_news()
                found = self._candidate(number)
                state.apply(Begin(number, found.parameters))
                self._add(found.cost, self._drawn_quality(found.rank))
                length = self._settings.length_of(found.parameters)
                self._train(Train(number, state.pruner.first(number, length)))
            case Train():
                self._train(entry)
            case Fork(_, source):
                state.apply(entry)
                self._add(self._costs[source], self._quality[source] + self._random.gauss(0, _PERSISTENCE))
            case Stop(number):
                state.apply(entry)
                self._interrupt(number)
                used = self._spent[number]
                state.apply(Stopped(number, used.seconds, used.dollars))
            case _:
                state.apply(entry)

    def _add(self, cost: TrialCost, quality: float) -> None:
        self._costs.append(cost)
        self._quality.append(quality)
        self._spent.append(Expense())

    def _drawn_quality(self, rank: float) -> float:
        own = math.sqrt(1 - self._likeness**2)
        return self._likeness * rank + own * self._random.gauss(0, 1)

    def _train(self, entry: Train) -> None:
        self._state.apply(entry)
        trial, cost = self._state.trials[entry.trial], self._costs[entry.trial]
        to = max(entry.to, cost.length) if cost.at_once else entry.to
        used = cost.advance(trial.at, to).times(self._slower)
        if used.seconds <= 0:
            used = replace(used, seconds=1e-9)
        advance = _Advance(entry.trial, to, used, self._virtual)
        self._under_way[entry.trial] = advance
        self._count_in(advance, 1)
        heapq.heappush(self._queue, (self._virtual + used.seconds, self._count, advance))
        self._count += 1

    def _count_in(self, advance: _Advance, sign: int) -> None:
        for place, value in enumerate((advance.at_once, advance.driven, advance.rate)):
            self._sums[place] += sign * value
        if not self._under_way:
            self._sums = [0.0, 0.0, 0.0]

    def _interrupt(self, number: int) -> None:
        if (advance := self._under_way.pop(number, None)) is not None:
            self._count_in(advance, -1)
            part = (self._virtual - advance.begun) / advance.used.seconds
            self._spent[number] += advance.used.times(part)

    def _speeds(self) -> tuple[float, float]:
        """Virtual seconds, and seconds of calls that are billed, in a second: below 1 where trials wait for each
        other. A call that waits for a place costs nothing, one that shares a core costs longer."""
        calls, driven, _ = self._sums
        most: float = self._capacity.calls
        if (limit := self._limits.budget_usd) is not None and self._capacity.worst_call > 0:
            most = max(1.0, min(most, (limit - self._dollars) // self._capacity.worst_call))
        waiting = min(1.0, most / calls if calls else 1.0, 1 / driven if driven else 1.0)
        busy = waiting * (calls + driven)
        cores = self._capacity.cores
        sharing = 1.0 if cores is None or busy <= cores else cores / busy
        return waiting * sharing, waiting

    def _wait(self) -> None:
        """Let time pass until a trial answers, or the deadline or the budget ends the search."""
        while self._queue[0][2].trial not in self._under_way or (
            self._under_way[self._queue[0][2].trial] is not self._queue[0][2]
        ):
            heapq.heappop(self._queue)
        ends, _, advance = self._queue[0]
        speed, billed = self._speeds()
        seconds, rate = (ends - self._virtual) / speed, self._sums[2] * billed
        limits, why = self._limits, ""
        if limits.deadline_seconds is not None and self._now + seconds > limits.deadline_seconds:
            seconds, why = max(0.0, limits.deadline_seconds - self._now), "DeadlineExceeded"
        if limits.budget_usd is not None:
            left = limits.budget_usd - self._dollars - self._capacity.worst_call
            if rate * seconds > left:
                seconds, why = max(0.0, left / rate if rate else 0.0), "BudgetExceeded"
        self._now += seconds
        self._virtual += seconds * speed
        self._dollars += seconds * rate
        if why:
            self._state.apply(End(why, ""))
            return
        heapq.heappop(self._queue)
        self._answer(advance)

    def _answer(self, advance: _Advance) -> None:
        number = advance.trial
        del self._under_way[number]
        self._count_in(advance, -1)
        self._spent[number] += advance.used
        score = self._quality[number] + self._random.gauss(0, _PERSISTENCE)
        values = {each.metric: score if each.maximize else -score for each in self._settings.objectives}
        used, to, state = self._spent[number], advance.to, self._state
        if to >= self._settings.length_of(state.trials[number].parameters):
            state.apply(Finished(number, values, to, to, used.seconds, used.dollars))
        else:
            state.apply(Report(number, to, to, values, used.seconds, used.dollars))
