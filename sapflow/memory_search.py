"""The search for a function's memory size while a job trains: eqs. 5 to 9 of Feng et al. (2018). Pure.

Two sizes are tried for q steps each; then every next one follows from the slope between the last two,

    z' = clamp(z_j − α (C̄(z_j) − C̄(z_{j−1})) / (z_j − z_{j−1}))        eqs. 6, 7: least cost C̄, eq. 5
    z' = clamp(z_j + α (R̄(z_j) − R̄(z_{j−1})) / (z_j − z_{j−1}))        eq. 9: most performance per cost R̄, eq. 8

The paper gives no α. Here it is z_j² / C̄(z_j), or z_j² / R̄(z_j): then a step is z_j times the elasticity, which is 1
where time does not depend on memory and 0 where it is inversely proportional to it, whatever the units. Eq. 6 starts
from z_1 each time; with more than two sizes tried, the last is the one to start from, as in eq. 9.
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Goal = Literal["Cost", "PerformancePerCost"]
FIRST = 2
"""Sizes that are tried before there is a slope."""
_APART = 0.125
"""Of the range: how far the first two sizes are from each other at least."""
_NEAR = 1 / 32
"""Of a size: what is nearer is not worth another q steps."""
_CUT = 0.45
"""Where a gap is cut: a little nearer to the best size than its middle."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A size in MiB, and what a step took with it on average: seconds, dollars."""

    size: int
    seconds: float
    dollars: float

    def loss(self, goal: Goal) -> float:
        """What is to be least: the cost of a step, or the inverse of performance per cost (f of eq. 8 cancels)."""
        return self.dollars if goal == "Cost" else self.dollars * self.seconds


@dataclass(frozen=True)
class Sizes:
    """The sizes that may be taken: multiples of `step` MiB from `least` to `most`, but those that were killed.

    A size at or below one that was killed for its memory is never taken again.
    """

    least: int
    most: int
    step: int = 1
    killed: Collection[int] = ()

    def __post_init__(self) -> None:
        if self.step < 1 or not self.low <= self.high:
            raise ValueError(
                f"no size from {self.least} to {self.most} MiB by {self.step} is left, killed: {sorted(self.killed)}"
            )

    @property
    def low(self) -> int:
        floor = max(self.least, max(self.killed, default=0) + 1)
        return -(-floor // self.step) * self.step

    @property
    def high(self) -> int:
        return self.most // self.step * self.step

    def nearest(self, size: float) -> int:
        """Eq. 7: the size that may be taken nearest to any."""
        rounded = round(size / self.step) * self.step
        return max(self.low, min(self.high, rounded))


def first(sizes: Sizes, luck: random.Random) -> tuple[int, ...]:
    """Two random sizes, well apart; one, where there is but one."""
    low, high = sizes.low, sizes.high
    if low == high:
        return (low,)
    apart = max(sizes.step, _APART * (high - low))
    one = sizes.nearest(luck.uniform(low, high))
    below, above = max(0.0, one - apart - low), max(0.0, high - one - apart)
    if below + above > 0:
        place = luck.uniform(0, below + above)
        other = sizes.nearest(low + place if place < below else one + apart + place - below)
    else:
        other = low if one - low > high - one else high
    return (one, other)


def following(trials: Sequence[Trial], sizes: Sizes, goal: Goal) -> int | None:
    """The next size to try after at least two; None where nothing near the best is left to be tried.

    The paper's step, where it leads to between the best size and its neighbours tried; elsewhere it would leave the
    place where the least is known to be, and the wider of the two gaps beside the best size is cut instead.
    """
    before, last = trials[-2], trials[-1]
    slope = (last.loss(goal) - before.loss(goal)) / (last.size - before.size)
    wanted = sizes.nearest(last.size - last.size**2 * slope / last.loss(goal))
    tried = {trial.size for trial in trials}
    size = best(trials, goal).size
    lower = max((each for each in tried if each < size), default=sizes.low - 1)
    upper = min((each for each in tried if each > size), default=sizes.high + 1)
    if lower < wanted < upper and abs(wanted - size) > size * _NEAR:
        return wanted
    for other in sorted((max(lower, sizes.low), min(upper, sizes.high)), key=lambda end: -abs(end - size)):
        between = sizes.nearest(size + _CUT * (other - size))
        if between not in tried and abs(other - size) > 2 * size * _NEAR:
            return between
    return None


def best(trials: Sequence[Trial], goal: Goal) -> Trial:
    """The best size tried; of equal ones the smallest."""
    return min(trials, key=lambda trial: (trial.loss(goal), trial.size))
