"""What any trial of a search takes: between the two corners that were rehearsed, by estimated work.

The cost model says how a step grows with the model, the batch, the workers; the rehearsal says what it takes here. At
each corner the computing time of the cost model is multiplied so that it is the measured one; then, where trials are to
run as they were rehearsed, the step's seconds, dollars and calls are, too. Between the corners these factors go evenly
with the logarithm of the estimated seconds of a step, and beyond them they stay. Where trials are to run elsewhere, as
in a cluster, only computing is taken over, and the constants of that place say the rest.
"""

import math
from dataclasses import astuple, dataclass

from sapflow.planning.constants import LOCAL_DIRECTORY
from sapflow.tuning.actions import Parameters
from sapflow.tuning.forecast.corners import Corner
from sapflow.tuning.forecast.estimates import Estimates
from sapflow.tuning.forecast.expense import Expense, TrialCost
from sapflow.tuning.forecast.rehearsal import Rehearsed
from sapflow.tuning.forecast.work import Estimate, Place

_LEAST = 1e-9
_START_REQUESTS, _PAUSE_REQUESTS = 20, 4
"""Requests to the store, one after the other, with which a driver starts and pauses."""


@dataclass(frozen=True, slots=True)
class Known:
    """A corner that was rehearsed."""

    corner: Corner
    rehearsed: Rehearsed

    @property
    def compute(self) -> float:
        """Measured computing time by the estimated one."""
        said, measured = self.corner.estimate.compute_seconds, self.rehearsed.compute_seconds
        return 1.0 if measured is None or said <= 0 or measured <= 0 else measured / said

    @property
    def work(self) -> float:
        """The logarithm of the estimated seconds of a step."""
        return math.log(max(_LEAST, self.corner.estimate.seconds))


class Costs:
    """Costs of the trials of one search."""

    def __init__(
        self, estimates: Estimates, cheapest: Known, dearest: Known, elsewhere: Place | None = None
    ) -> None:
        """`elsewhere`: where the trials are to run, if they were not rehearsed there."""
        self._estimates, self._elsewhere = estimates, elsewhere
        self._ends = (cheapest, dearest)
        self._factors = tuple(map(self._factors_of, self._ends))

    def of(self, parameters: Parameters, estimate: Estimate) -> TrialCost:
        """What a trial takes that has this estimate where it was rehearsed."""
        share = self._share(estimate)
        compute = _even(self._ends[0].compute, self._ends[1].compute, share)
        place = self._elsewhere or self._estimates.place
        found = self._estimates.again(parameters, place, compute)
        seconds, dollars, calls, driver = (
            _even(one, other, share) for one, other in zip(*self._factors, strict=True)
        )
        if self._elsewhere is not None:
            seconds = dollars = calls = 1.0
        step = Expense(
            seconds * found.seconds, dollars * found.dollars, calls * found.call_seconds, driver * found.calls
        )
        begin, resume, pause = (
            one.between(other, share)
            for one, other in zip(*((_moments(each.rehearsed)) for each in self._ends), strict=True)
        )
        start, end = Expense(self._farther * _START_REQUESTS), Expense(self._farther * _PAUSE_REQUESTS)
        return TrialCost(
            step,
            begin + start,
            resume + start,
            pause + end,
            evaluation=Expense(0.0, pause.dollars, pause.calls, pause.driver),
            steps_per_unit=found.steps_per_unit,
            evaluations_per_unit=found.evaluations_per_unit,
            length=found.length,
            at_once=found.at_once,
        )

    @property
    def _farther(self) -> float:
        """How much longer a request to the store takes than where the trials were rehearsed."""
        if self._elsewhere is None:
            return 0.0
        return max(0.0, self._elsewhere.constants.request - LOCAL_DIRECTORY.request)

    def _share(self, estimate: Estimate) -> float:
        least, most = (each.work for each in self._ends)
        if abs(most - least) < 0.01:
            return 0.5
        place = (math.log(max(_LEAST, estimate.seconds)) - least) / (most - least)
        return min(1.0, max(0.0, place))

    def _factors_of(self, known: Known) -> tuple[float, float, float, float]:
        """A measured step by the estimated one: its seconds, dollars, seconds of calls, and the driver's for a call."""
        said = self._estimates.again(known.corner.parameters, self._estimates.place, known.compute)
        seconds, dollars, calls, driver = astuple(known.rehearsed.step)
        return (
            max(_LEAST, seconds) / max(_LEAST, said.seconds),
            dollars / said.dollars if dollars > 0 and said.dollars > 0 else 1.0,
            max(_LEAST, calls) / max(_LEAST, said.call_seconds),
            driver / max(1, said.calls),
        )


def _moments(rehearsed: Rehearsed) -> tuple[Expense, Expense, Expense]:
    return rehearsed.begin, rehearsed.resume, rehearsed.pause


def _even(one: float, other: float, share: float) -> float:
    """The value that is so far on the way from one to the other, by their logarithms where both have one."""
    if one <= 0 or other <= 0:
        return one + share * (other - one)
    return float(one ** (1 - share) * other**share)
