"""The sets of values that a search may try, for Optuna and as the points of a grid.

Optuna knows numbers, texts and booleans; a choice that is a list or a mapping goes there as JSON text.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sapflow.spec.parameter_values import present, same, value_at, values_of
from sapflow.spec.parameters import ParameterSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_TEXT = "json:"


def encoded(value: Any) -> Any:
    """A choice as Optuna takes it."""
    return f"{_TEXT}{json.dumps(value, sort_keys=True)}" if isinstance(value, list | dict) else value


class Space:
    """The parameters of a search, in their order."""

    def __init__(self, parameters: Sequence[ParameterSpec]) -> None:
        self.parameters = tuple(parameters)
        self._distributions: dict[tuple[str, ...], dict[str, BaseDistribution]] = {}
        self._by_path: dict[str, BaseDistribution] = {}

    def present(self, chosen: Mapping[str, Any]) -> list[ParameterSpec]:
        """The parameters that are there, given a complete set of values."""
        return [each for each in self.parameters if present(each, chosen)]

    def distribution(self, parameter: ParameterSpec) -> "BaseDistribution":
        """What Optuna is told about a parameter."""
        found = self._by_path.get(parameter.path)
        if found is None:
            found = self._by_path[parameter.path] = _distribution(parameter)
        return found

    def distributions(self, values: Mapping[str, Any]) -> "dict[str, BaseDistribution]":
        """The distributions of the parameters in `values`; equal sets of parameters share one mapping."""
        names = tuple(values)
        if names not in self._distributions:
            by_path = {each.path: each for each in self.parameters}
            self._distributions[names] = {name: self.distribution(by_path[name]) for name in names}
        return self._distributions[names]

    def encoded(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values as Optuna takes them: a number as its distribution has it."""
        by_path = {each.path: each for each in self.parameters}
        return {
            path: float(value) if by_path[path].float_ is not None else encoded(value)
            for path, value in values.items()
        }

    def decoded(self, parameter: ParameterSpec, value: Any) -> Any:
        """Optuna's value as it stands in the spec."""
        if parameter.categorical is None:
            return value
        return next(each for each in parameter.categorical.choices if same(encoded(each), value))

    @property
    def size(self) -> int:
        """The number of points of the grid."""
        return sum(1 for _ in self._walk(0, {}))

    def points(self) -> list[dict[str, Any]]:
        """All points of the grid, the last parameter changing first."""
        return list(self._walk(0, {}))

    def _walk(self, index: int, chosen: dict[str, Any]) -> "Sequence[dict[str, Any]]":
        if index == len(self.parameters):
            return [chosen]
        parameter = self.parameters[index]
        if not present(parameter, chosen):
            return self._walk(index + 1, chosen)
        found: list[dict[str, Any]] = []
        for place in range(values_of(parameter)):
            found += self._walk(index + 1, {**chosen, parameter.path: value_at(parameter, place)})
        return found


def _distribution(parameter: ParameterSpec) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.categorical is not None:
        return CategoricalDistribution(tuple(map(encoded, parameter.categorical.choices)))
    if parameter.int_ is not None:
        integers = parameter.int_
        most = integers.max - (integers.max - integers.min) % (integers.step or 1)
        return IntDistribution(integers.min, most, log=bool(integers.log), step=integers.step or 1)
    assert parameter.float_ is not None
    bounds = parameter.float_
    most_float = (
        bounds.max if bounds.step is None else float(str(value_at(parameter, values_of(parameter) - 1)))
    )
    return FloatDistribution(bounds.min, most_float, log=bool(bounds.log), step=bounds.step)
