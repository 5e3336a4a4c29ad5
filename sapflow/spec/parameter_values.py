"""The values that a search's parameters may have, and how many sets of them there are."""

import math
from collections.abc import Mapping, Sequence

from sapflow.spec.parameters import ParameterSpec

MOST_POINTS = 20_000
"""The most trials of a Grid, which are those that a search may have."""


def grid_size(parameters: Sequence[ParameterSpec]) -> int:
    """The number of combinations of all values; those that differ only in a parameter that is not there count once."""
    if all(each.when is None for each in parameters):
        return math.prod(values_of(each) for each in parameters)
    return _conditional_size(parameters, 0, {})


def _conditional_size(parameters: Sequence[ParameterSpec], index: int, chosen: dict[str, object]) -> int:
    if index == len(parameters):
        return 1
    parameter = parameters[index]
    awaited = any(each.when is not None and each.when.path == parameter.path for each in parameters)
    if not present(parameter, chosen):
        return _conditional_size(parameters, index + 1, chosen)
    if not awaited:
        return values_of(parameter) * _conditional_size(parameters, index + 1, chosen)
    total = 0
    for place in range(min(values_of(parameter), MOST_POINTS + 1)):
        total += _conditional_size(
            parameters, index + 1, {**chosen, parameter.path: value_at(parameter, place)}
        )
        if total > MOST_POINTS:
            break
    return total


def present(parameter: ParameterSpec, chosen: Mapping[str, object]) -> bool:
    """Whether a parameter is there, given the values of those before it."""
    when = parameter.when
    if when is None:
        return True
    return when.path in chosen and any(same(chosen[when.path], each) for each in when.values)


def values_of(parameter: ParameterSpec) -> int:
    """How many values a parameter of a Grid has; more than any Grid's where they cannot be counted."""
    if parameter.categorical is not None:
        return len(parameter.categorical.choices)
    numbers = parameter.float_ or parameter.int_
    step = None if numbers is None else numbers.step or (1 if parameter.int_ is not None else None)
    if numbers is None or step is None:
        return MOST_POINTS + 1
    return math.floor((numbers.max - numbers.min) / step + 1e-8) + 1


def value_at(parameter: ParameterSpec, place: int) -> object:
    """The value at a place of a Grid's parameter, from its least one or first choice on."""
    if parameter.categorical is not None:
        return parameter.categorical.choices[place]
    if parameter.int_ is not None:
        return parameter.int_.min + place * (parameter.int_.step or 1)
    assert parameter.float_ is not None
    return min(parameter.float_.max, parameter.float_.min + place * (parameter.float_.step or 0.0))


def fits(parameter: ParameterSpec, value: object) -> bool:
    """Whether a parameter may have the value."""
    if parameter.categorical is not None:
        return any(same(each, value) for each in parameter.categorical.choices)
    numbers = parameter.float_ or parameter.int_
    if numbers is None or isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if parameter.int_ is not None and value != int(value):
        return False
    if not numbers.min <= value <= numbers.max:
        return False
    if numbers.step is None:
        return True
    places = (value - numbers.min) / numbers.step
    return math.isclose(places, round(places), abs_tol=1e-8)


def same(one: object, other: object) -> bool:
    """Whether two JSON values are the same; 1, 1.0 and true are three."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return isinstance(one, bool) == isinstance(other, bool) and one == other
