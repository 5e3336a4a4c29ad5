"""The cheapest and the dearest trial of a search, and how the cost grows between them.

A space may be huge, so its points are not all tried. One parameter after the other is set to the value with which a
trial costs least (or most), twice over, so that what one makes dearer by another is seen; then the trials that were
drawn by chance may still be cheaper or dearer. This begins at the template's values, and once for each condition that
other parameters are there by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.errors import SpecError
from sapflow.spec.parameter_values import present
from sapflow.spec.parameters import ParameterSpec
from sapflow.tuning.actions import Parameters
from sapflow.tuning.forecast.draws import completed, extremes
from sapflow.tuning.forecast.estimates import Estimates
from sapflow.tuning.forecast.work import Estimate

_ROUNDS = 2
_STARTS = 16
_SAME = 1.005
"""Two trials whose costs differ by less cost the same."""


@dataclass(frozen=True, slots=True)
class Corner:
    """A set of parameters, and what a trial with it is estimated to take."""

    parameters: Parameters
    estimate: Estimate

    @property
    def cost(self) -> tuple[float, float]:
        """Of the complete trial: dollars, then seconds."""
        return (self.estimate.trial_dollars, self.estimate.trial_seconds)


@dataclass(frozen=True, slots=True)
class Growth:
    """How much dearer one parameter alone makes a trial, the others as in the template."""

    path: str
    cheapest: Any
    dearest: Any
    factor: float
    """Dollars with the dearest value by those with the cheapest."""


class Corners:
    """Finds the corners of a space. After `find`, `cheapest`, `dearest` and `growth` are known."""

    def __init__(
        self, parameters: Sequence[ParameterSpec], template: Mapping[str, Any], estimates: Estimates
    ) -> None:
        self._parameters, self._template, self._estimates = parameters, template, estimates
        self.growth: list[Growth] = []
        """Parameters that change the cost, the one that changes it most first."""

    async def find(self, drawn: Sequence[Corner]) -> tuple[Corner, Corner]:
        """The cheapest and the dearest set; `drawn` are some that are known. Raises SpecError if no trial can begin."""
        base = completed(self._parameters, {}, self._template)
        await self._grow(base)
        walked = [await self._walk(start, sign) for start in self._starts(base) for sign in (1, -1)]
        found = [*(each for each in walked if each is not None), *drawn]
        if not found:
            problem = (await self._estimates.of([base]))[0]
            assert isinstance(problem, SpecError)
            raise problem
        cheapest, dearest = min(found, key=lambda each: each.cost), max(found, key=lambda each: each.cost)
        return await self._usual(cheapest, base), await self._usual(dearest, base)

    async def _usual(self, corner: Corner, base: Parameters) -> Corner:
        """The corner with the usual value of each parameter that does not change the cost: a learning rate that was
        drawn by chance may let two steps diverge."""
        for parameter in self._parameters:
            if parameter.path in corner.parameters and parameter.path in base:
                tried = self._with(corner.parameters, parameter, base[parameter.path])
                known = await self._known([tried])
                if known and known[0].cost == corner.cost:
                    corner = known[0]
        return corner

    def _starts(self, base: Parameters) -> list[Parameters]:
        """`base`, and the sets with which parameters are there that it lacks."""
        found = [base]
        for parameter in self._parameters:
            under = self._under(parameter, base)
            if under not in found and len(found) < _STARTS:
                found.append(under)
        return found

    async def _walk(self, base: Parameters, sign: int) -> Corner | None:
        """From `base` to the cheapest corner (sign 1) or the dearest (−1)."""
        chosen: Parameters = base
        best: Corner | None = None
        for _ in range(_ROUNDS):
            for parameter in self._parameters:
                if not present(parameter, chosen):
                    continue
                tried = [self._with(chosen, parameter, value) for value in extremes(parameter)]
                known = await self._known([chosen, *tried])
                if known:
                    best = min(known, key=lambda each: tuple(sign * value for value in each.cost))
                    chosen = best.parameters
        return best

    async def _grow(self, base: Parameters) -> None:
        for parameter in self._parameters:
            above = self._under(parameter, base)
            known = await self._known([self._with(above, parameter, each) for each in extremes(parameter)])
            if len(known) < 2:
                continue
            least, most = min(known, key=lambda each: each.cost), max(known, key=lambda each: each.cost)
            factor = most.cost[0] / least.cost[0] if least.cost[0] > 0 else 1.0
            if factor > _SAME:
                values = (least.parameters[parameter.path], most.parameters[parameter.path])
                self.growth.append(Growth(parameter.path, *values, factor))
        self.growth.sort(key=lambda each: -each.factor)

    def _under(self, parameter: ParameterSpec, base: Parameters) -> Parameters:
        """`base` with values of other parameters with which this one is there."""
        if present(parameter, base) or parameter.when is None:
            return base
        other = next(each for each in self._parameters if parameter.when.path == each.path)
        return self._with(self._under(other, base), other, parameter.when.values[0])

    def _with(self, chosen: Parameters, parameter: ParameterSpec, value: Any) -> dict[str, Any]:
        return completed(self._parameters, {**chosen, parameter.path: value}, self._template)

    async def _known(self, sets: Sequence[Parameters]) -> list[Corner]:
        """Those of the sets that can be trained and were estimated."""
        found = await self._estimates.of(sets)
        return [
            Corner(parameters, each)
            for parameters, each in zip(sets, found, strict=True)
            if isinstance(each, Estimate)
        ]
