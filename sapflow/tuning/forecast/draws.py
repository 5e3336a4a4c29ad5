"""Sets of parameters of a search: drawn from its space, completed, at its corners. Pure."""

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from sapflow.spec import field_paths
from sapflow.spec.parameter_values import fits, present, value_at, values_of
from sapflow.spec.parameters import ParameterSpec
from sapflow.tuning.actions import Parameters


def drawn(
    parameters: Sequence[ParameterSpec], random: Random, given: Parameters | None = None
) -> dict[str, Any]:
    """A set of values by chance, as `search: Random` draws them, but for those that are `given`."""
    found: dict[str, Any] = {}
    for each in parameters:
        if present(each, found):
            value = None if given is None else given.get(each.path)
            found[each.path] = _value(each, random) if value is None else value
    return found


def completed(
    parameters: Sequence[ParameterSpec], chosen: Parameters, template: Mapping[str, Any]
) -> dict[str, Any]:
    """The set with a usual value of each parameter that it lacks and should have, and without those that it should
    not have. The usual value is the template's, or else the least or the first one."""
    found: dict[str, Any] = {}
    for each in parameters:
        if present(each, found):
            found[each.path] = chosen[each.path] if each.path in chosen else _usual(each, template)
    return found


def extremes(parameter: ParameterSpec) -> list[Any]:
    """The values between which those of a number lie, or all choices."""
    if parameter.categorical is not None:
        return list(parameter.categorical.choices)
    numbers = parameter.int_ or parameter.float_
    assert numbers is not None
    if parameter.float_ is not None and parameter.float_.step is None:
        return [numbers.min, numbers.max]
    return [numbers.min, value_at(parameter, values_of(parameter) - 1)]


def _usual(parameter: ParameterSpec, template: Mapping[str, Any]) -> Any:
    value = field_paths.value_at(template, parameter.path)
    return value if value is not None and fits(parameter, value) else extremes(parameter)[0]


def _value(parameter: ParameterSpec, random: Random) -> Any:
    if parameter.categorical is not None:
        return random.choice(parameter.categorical.choices)
    numbers = parameter.float_ or parameter.int_
    assert numbers is not None
    if numbers.log:
        value = math.exp(random.uniform(math.log(numbers.min), math.log(numbers.max)))
    else:
        value = random.uniform(numbers.min, numbers.max)
    if parameter.float_ is not None and parameter.float_.step is None:
        return min(max(value, numbers.min), numbers.max)
    places = values_of(parameter)
    step = numbers.step or 1
    return value_at(parameter, min(places - 1, max(0, round((value - numbers.min) / step))))
