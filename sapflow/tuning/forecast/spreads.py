"""Many plays of a search, and the spread of what they come to. Pure, and the same for the same seed.

What differs from play to play: which parameters trials have, how they are ranked, whether dear trials are the good
ones, and how much slower all is than it was rehearsed. The last two are dealt evenly, so that few plays show them.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import NormalDist

from sapflow.tuning.forecast.play import Candidate, Capacity, Draw, Play
from sapflow.tuning.forecast.record import Spread
from sapflow.tuning.settings import Limits, Settings

TRIALS_PLAYED = 40_000
"""Of all plays together: what takes a second or two."""
EFFORT = {"PBT": 8}
"""How many trials of other methods take as long to play as one of this."""
MOST_OF_A_PLAY = {"PBT": 500}
"""Trials of a play at most, where the pruner's own work grows faster than their number."""
MOST = 2_000
MOST_PLAYS, LEAST_PLAYS = 100, 10
LIKENESS = 0.8
"""The largest correlation, of either sign, of a trial's score with its cost."""
UNCERTAINTY = 0.15
"""Standard deviation, as a logarithm, of how much slower a search is than its rehearsal: what two steps cannot show."""


@dataclass(frozen=True, slots=True)
class Spreads:
    """What the plays came to."""

    seconds: Spread
    dollars: Spread
    trials: dict[str, Spread]
    ended_by: dict[str, float]
    plays: int
    played: int
    """Trials of each play that maxTrials counts, at most."""


def spreads(
    settings: Settings,
    limits: Limits,
    candidates: Callable[[Random], Callable[[int], Candidate]],
    capacity: Capacity,
    uncertainty: float = UNCERTAINTY,
) -> Spreads:
    """Play the search many times. `candidates` deals the trials of one play, by their numbers."""
    random = Random(f"{settings.seed}/forecast")
    most = min(
        limits.max_trials, max(MOST_OF_A_PLAY.get(settings.prune.name, MOST), 4 * limits.parallel_trials)
    )
    rest = limits.max_trials / most
    plays = min(MOST_PLAYS, max(LEAST_PLAYS, TRIALS_PLAYED // (most * EFFORT.get(settings.prune.name, 1))))
    some = _limited(limits, most, rest, capacity.start)
    shared = replace(capacity, worst_call=capacity.worst_call / max(1.0, rest))
    normal = NormalDist()
    slower = [math.exp(uncertainty * normal.inv_cdf(each)) for each in _dealt(plays, random)]
    likeness = [LIKENESS * (2 * each - 1) for each in _dealt(plays, random)]
    draws = []
    for place in range(plays):
        own = Random(f"{settings.seed}/forecast/{place}")
        play = Play(
            settings, some, candidates(own), shared, own, slower=slower[place], likeness=likeness[place]
        )
        draws.append(_extended(play.run(), rest, capacity.start))
    return _spread(draws, most)


def _limited(limits: Limits, most: int, rest: float, start: float) -> Limits:
    """The limits of a play of so many trials; of the budget and the time it has the part that is theirs."""
    if rest <= 1:
        return limits
    budget, deadline = limits.budget_usd, limits.deadline_seconds
    return replace(
        limits,
        max_trials=most,
        budget_usd=None if budget is None else budget / rest,
        deadline_seconds=None if deadline is None else max(1, round(start + (deadline - start) / rest)),
    )


def _extended(draw: Draw, rest: float, start: float) -> Draw:
    """The draw of the complete search, of which a part was played."""
    trials = Counter({name: round(rest * number) for name, number in draw.trials.items()})
    return Draw(start + rest * (draw.seconds - start), rest * draw.dollars, draw.ended_by, trials)


def _dealt(count: int, random: Random) -> list[float]:
    """`count` numbers evenly between 0 and 1, in an order by chance."""
    found = [(place + 0.5) / count for place in range(count)]
    random.shuffle(found)
    return found


def _spread(draws: Sequence[Draw], most: int) -> Spreads:
    phases = sorted({name for each in draws for name in each.trials})
    ends = Counter(each.ended_by for each in draws)
    return Spreads(
        Spread.of([each.seconds for each in draws]),
        Spread.of([each.dollars for each in draws]),
        {name: Spread.of([each.trials[name] for each in draws]) for name in phases},
        {name: number / len(draws) for name, number in ends.most_common()},
        len(draws),
        most,
    )
