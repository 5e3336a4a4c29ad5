"""The search for a function's memory size while a job trains: eqs. 5 to 9 of Feng et al. (2018), extended. Pure.

Two sizes are tried for q steps each. The paper derives each further one from the slope between the last two,

    z' = clamp(z_j − α (C̄(z_j) − C̄(z_{j−1})) / (z_j − z_{j−1}))        eqs. 6, 7: least cost C̄, eq. 5
    z' = clamp(z_j + α (R̄(z_j) − R̄(z_{j−1})) / (z_j − z_{j−1}))        eq. 9: most performance per cost R̄, eq. 8

and gives no α. Here α is z_j² / C̄(z_j), or z_j² / R̄(z_j): then a step is z_j times the elasticity, which has no
unit; it is 1 where time does not depend on memory and 0 where time is inversely proportional to it. Eq. 6 starts from
z_1 each time; here the last size tried is the one to start from, as in eq. 9. That is `secant`.

A slope between two noisy means says little about where the best size is. So a model is fitted to all trials first:
seconds a + b/z, since CPU grows with memory, and dollars c + e·z, which follow from it. If it fits within the trials'
own errors, the search goes to the model's best size. If it does not (time stops falling once a function has all the
CPUs that it can use), the search takes the secant's size, as long as that lies beside the best size tried.
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
"""Number of sizes that are tried before there is a slope."""
_APART = 0.125
"""The least distance between the first two sizes, as a share of the range."""
_NEAR = 1 / 32
"""A size that differs from a tried one by less than this share is not worth another q steps."""
_FAR = 0.35
"""A size whose ratio to every tried size has a larger logarithm may contradict the model, and is worth a trial."""
_CUT = 0.45
"""Where a gap between two sizes is split, seen from the better one: a little before the middle."""
_OFF, _ERRORS = 0.02, 3.0
"""The largest error of a fit at a trial: this share of its value, or this many standard errors of the trial."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A size in MiB, and the mean seconds and dollars of a step with it.

    `error` is the relative standard error of both; 0 means that they are exact.
    """

    size: int
    seconds: float
    dollars: float
    error: float = 0.0

    def loss(self, goal: Goal) -> float:
        """The quantity to minimise: a step's cost, or the inverse of performance per cost (f of eq. 8 cancels)."""
        return self.dollars if goal == "Cost" else self.dollars * self.seconds


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """A step with functions of z MiB takes `fixed` + `work` / z seconds and `standing` + `rate` · z dollars."""

    fixed: float
    work: float
    standing: float
    rate: float

    def at(self, size: int) -> Trial:
        return Trial(size, self.fixed + self.work / size, self.standing + self.rate * size)

    def optimum(self, goal: Goal) -> float:
        """The best size in MiB, bounds apart; 0 and infinity stand for the lower and the upper bound."""
        if goal == "Cost":
            return 0.0
        growing = self.fixed * self.rate
        falling = self.work * self.standing
        return math.sqrt(falling / growing) if growing > 0 else math.inf if falling > 0 else 0.0


def fit(trials: Sequence[Trial]) -> MemoryModel | None:
    """The model of least squared relative errors, with no coefficient below zero; None if a trial contradicts it."""
    sizes = np.array([each.size for each in trials], np.float64)
    seconds = np.array([each.seconds for each in trials])
    dollars = np.array([each.dollars for each in trials])
    fixed, work = _line(1 / sizes, seconds)
    standing, rate = _line(sizes, dollars)
    allowed = np.maximum(_OFF, _ERRORS * np.array([each.error for each in trials]))
    off = (np.abs((fixed + work / sizes) / seconds - 1), np.abs((standing + rate * sizes) / dollars - 1))
    if (np.maximum(*off) > allowed).any():
        return None
    return MemoryModel(fixed, work, standing, rate)


def _line(at: Floats, values: Floats) -> tuple[float, float]:
    """Constant and slope ≥ 0 of the line through values [n] at points [n]; relative errors are minimised."""
    matrix = np.stack([np.ones_like(at), at / at.max()], axis=1) / values[:, None]
    scale = float(values.mean())
    constant, slope = non_negative(matrix * scale, np.ones_like(values)) * scale
    return float(constant), float(slope / at.max())


@dataclass(frozen=True)
class Sizes:
    """The sizes that may be tried: multiples of `step` MiB from `least` to `most`.

    `killed` are sizes whose functions were killed for lack of memory; no size at or below one of them is tried again.
    """

    least: int
    most: int
    step: int = 1
    killed: Collection[int] = ()

    def __post_init__(self) -> None:
        if self.step < 1 or not self.low <= self.high:
            raise ValueError(
                f"no size from {self.least} to {self.most} MiB in steps of {self.step} is left to try; "
                f"these were killed for lack of memory: {sorted(self.killed)}"
            )

    @property
    def low(self) -> int:
        floor = max(self.least, max(self.killed, default=0) + 1)
        return -(-floor // self.step) * self.step

    @property
    def high(self) -> int:
        return self.most // self.step * self.step

    def nearest(self, size: float) -> int:
        """Eq. 7: the allowed size that is nearest to `size`."""
        return round(max(self.low, min(self.high, size)) / self.step) * self.step


def first(sizes: Sizes, luck: random.Random) -> tuple[int, ...]:
    """Two random sizes, well apart; a single one if there is only one."""
    one = sizes.nearest(luck.uniform(sizes.low, sizes.high))
    other = second(one, sizes, luck)
    return (one,) if other is None else (one, other)


def second(one: int, sizes: Sizes, luck: random.Random) -> int | None:
    """A random size, well apart from `one`; None if there is only one."""
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
    """The next size to try after at least two different ones; None if no size is worth a trial any more.

    If the model fits, that is its best size. Once the best size was tried and the goal is performance per cost, sizes
    follow that may contradict the model: the ends of the range and the middles of wide gaps, farthest first, because
    the best ratio depends on all coefficients of the model, while cost is least at an end of the range. If the model
    does not fit, it is the secant's size, or a size inside a gap beside the best one.
    """
    model = fit(trials)
    if model is None:
        return _beside_the_best(trials, sizes, goal)
    tried = sorted({trial.size for trial in trials})
    wanted = sizes.nearest(model.optimum(goal))
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
    """The secant's size, if it lies between the tried neighbours of the best size, where the minimum must be; else a
    size inside the wider of the two gaps beside the best one."""
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
    """The best of the sizes tried, by the model if it fits, else as measured; of equal ones the smallest."""
    model = fit(trials) if len(trials) > 1 else None
    return min(
        trials,
        key=lambda trial: ((model.at(trial.size) if model else trial).loss(goal), trial.size),
    )
