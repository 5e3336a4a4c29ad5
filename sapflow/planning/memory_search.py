"""The search for a function's memory size while a job trains: eqs. 5 to 9 of Feng et al. (2018), and beyond. Pure.

Two sizes are tried for q steps each. The paper takes every next one from the slope between the last two,

    z' = clamp(z_j − α (C̄(z_j) − C̄(z_{j−1})) / (z_j − z_{j−1}))        eqs. 6, 7: least cost C̄, eq. 5
    z' = clamp(z_j + α (R̄(z_j) − R̄(z_{j−1})) / (z_j − z_{j−1}))        eq. 9: most performance per cost R̄, eq. 8

and gives no α. Here it is z_j² / C̄(z_j), or z_j² / R̄(z_j): then a step is z_j times the elasticity, which is 1
where time does not depend on memory and 0 where it is inversely proportional to it, whatever the units. Eq. 6 starts
from z_1 each time; with more than two sizes tried, the last is the one to start from, as in eq. 9. That is `secant`.

A slope between two noisy means says little of where the best size is. So a law is fitted to all trials first: seconds
a + b/z, since CPU follows memory, and dollars c + e·z, which follow. Where it fits as well as the trials' own errors
let it, the search goes to its best size; where it does not (time stops falling once a function has the CPUs that it
computes with), to the secant's, as long as that stays beside the best size tried.
"""

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from sapflow.planning.least_squares import Floats, non_negative

Goal = Literal["Cost", "PerformancePerCost"]
FIRST = 2
"""Sizes that are tried before there is a slope."""
_APART = 0.125
"""Of the range: how far the first two sizes are from each other at least."""
_NEAR = 1 / 32
"""Of a size: what is nearer is not worth another q steps."""
_FAR = 0.35
"""Logarithm of a ratio of sizes: what is farther from all that was tried may belie the law."""
_CUT = 0.45
"""Where a gap is cut: a little nearer to the best size than its middle."""
_OFF, _ERRORS = 0.02, 3.0
"""How far a fit may be off a trial: this part of it, or so many of the trial's own errors."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A size in MiB, and what a step took with it on average: seconds, dollars.

    `error` is the standard error of both, as a part of them; 0: they are exact.
    """

    size: int
    seconds: float
    dollars: float
    error: float = 0.0

    def loss(self, goal: Goal) -> float:
        """What is to be least: the cost of a step, or the inverse of performance per cost (f of eq. 8 cancels)."""
        return self.dollars if goal == "Cost" else self.dollars * self.seconds


@dataclass(frozen=True, slots=True)
class Law:
    """A step with functions of z MiB takes `fixed` + `work` / z seconds and `standing` + `rate` · z dollars."""

    fixed: float
    work: float
    standing: float
    rate: float

    def at(self, size: int) -> Trial:
        return Trial(size, self.fixed + self.work / size, self.standing + self.rate * size)

    def optimum(self, goal: Goal) -> float:
        """The best size of all, in MiB; 0 and infinity stand for the ends of any range."""
        if goal == "Cost":
            return 0.0
        growing = self.fixed * self.rate
        falling = self.work * self.standing
        return math.sqrt(falling / growing) if growing > 0 else math.inf if falling > 0 else 0.0


def fit(trials: Sequence[Trial]) -> Law | None:
    """The law of least squared relative errors, no coefficient below zero; None where a trial belies it."""
    sizes = np.array([each.size for each in trials], np.float64)
    seconds = np.array([each.seconds for each in trials])
    dollars = np.array([each.dollars for each in trials])
    fixed, work = _line(1 / sizes, seconds)
    standing, rate = _line(sizes, dollars)
    allowed = np.maximum(_OFF, _ERRORS * np.array([each.error for each in trials]))
    off = (np.abs((fixed + work / sizes) / seconds - 1), np.abs((standing + rate * sizes) / dollars - 1))
    if (np.maximum(*off) > allowed).any():
        return None
    return Law(fixed, work, standing, rate)


def _line(at: Floats, values: Floats) -> tuple[float, float]:
    """Constant and slope ≥ 0 of the line through values [n] at points [n], each as important as any other."""
    matrix = np.stack([np.ones_like(at), at / at.max()], axis=1) / values[:, None]
    scale = float(values.mean())
    constant, slope = non_negative(matrix * scale, np.ones_like(values)) * scale
    return float(constant), float(slope / at.max())


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
        return round(max(self.low, min(self.high, size)) / self.step) * self.step


def first(sizes: Sizes, luck: random.Random) -> tuple[int, ...]:
    """Two random sizes, well apart; one, where there is but one."""
    one = sizes.nearest(luck.uniform(sizes.low, sizes.high))
    other = second(one, sizes, luck)
    return (one,) if other is None else (one, other)


def second(one: int, sizes: Sizes, luck: random.Random) -> int | None:
    """A random size, well apart from the first; None, where there is but one."""
    low, high = sizes.low, sizes.high
    if low == high:
        return None
    apart = max(sizes.step, _APART * (high - low))
    below, above = max(0.0, one - apart - low), max(0.0, high - one - apart)
    if below + above > 0:
        place = luck.uniform(0, below + above)
        return sizes.nearest(low + place if place < below else one + apart + place - below)
    return low if one - low > high - one else high


def following(trials: Sequence[Trial], sizes: Sizes, goal: Goal) -> int | None:
    """The next size to try after at least two different ones; None where nothing is left that is worth a trial.

    Where the law fits, its best size. When that is known and the ratio is sought, what may belie the law yet: the
    ends of the range and the middle of wide gaps, farthest first, because the best ratio hangs on both of a law's
    coefficients, while cost has its least at an end. Elsewhere the secant's size, or the cut of a gap.
    """
    law = fit(trials)
    if law is None:
        return _beside_the_best(trials, sizes, goal)
    tried = sorted({trial.size for trial in trials})
    wanted = sizes.nearest(law.optimum(goal))
    if all(abs(wanted - each) > _NEAR * each for each in tried):
        return wanted
    if goal == "Cost":
        return None
    unknown = [sizes.low, sizes.high, *(sizes.nearest(math.sqrt(a * b)) for a, b in pairwise(tried))]
    distance = {size: min(abs(math.log(size / each)) for each in tried) for size in unknown}
    farthest = max(unknown, key=lambda size: distance[size])
    return farthest if distance[farthest] > _FAR else None


def secant(before: Trial, last: Trial, sizes: Sizes, goal: Goal) -> int:
    """Eq. 6 or 9 from the last two trials, of different sizes, and the clamp of eq. 7."""
    slope = (last.loss(goal) - before.loss(goal)) / (last.size - before.size)
    return sizes.nearest(last.size - last.size**2 * slope / last.loss(goal))


def _beside_the_best(trials: Sequence[Trial], sizes: Sizes, goal: Goal) -> int | None:
    """The secant's size, where it lies between the best size and its neighbours tried; elsewhere it would leave the
    place where the least is known to be, and the wider of the two gaps beside the best size is cut instead."""
    last = trials[-1]
    before = next(each for each in reversed(trials) if each.size != last.size)
    wanted = secant(before, last, sizes, goal)
    tried = {trial.size for trial in trials}
    size = min(trials, key=lambda trial: trial.loss(goal)).size
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
    """The best of the sizes tried, by the law where it fits, else as measured; of equal ones the smallest."""
    law = fit(trials) if len(trials) > 1 else None
    return min(
        trials,
        key=lambda trial: ((law.at(trial.size) if law else trial).loss(goal), trial.size),
    )
