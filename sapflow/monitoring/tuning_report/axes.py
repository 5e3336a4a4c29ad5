"""A parameter's values as places on an axis, with the texts of its ticks. Pure."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.monitoring.report.charts import ticks
from sapflow.spec.parameter_values import same
from sapflow.spec.parameters import ParameterSpec
from sapflow.text import printable
from sapflow.tuning.actions import Parameters

LETTERS = 40
"""Of a text that a chart shows."""
ABSENT = "none"
"""The tick of trials that do not have the parameter, because its `when` does not hold."""
_TICKS = 5
_NO_MARKUP = str.maketrans("<>&", "‹›＆")


def short_text(value: object) -> str:
    """A value as text of at most LETTERS letters, without control characters: 0.1, Momentum, [256, 128]."""
    if isinstance(value, float):
        text = f"{value:.4g}"
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(printable(text).split())
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…"


def shown(value: object) -> str:
    """`short_text` for a chart, where Plotly reads some of HTML, and not everywhere: `<`, `>` and `&` are letters there
    that look like them."""
    return short_text(value).translate(_NO_MARKUP)


@dataclass(frozen=True, slots=True)
class ParameterAxis:
    """Places of a parameter's values: the number, its decimal logarithm, or the choice's index; and below all of them
    one for trials that do not have it."""

    parameter: ParameterSpec
    name: str
    """The parameter's short name."""
    absent: bool
    """Whether some trials do not have it."""

    @property
    def categorical(self) -> bool:
        return self.parameter.categorical is not None

    @property
    def log(self) -> bool:
        numbers = self.parameter.float_ or self.parameter.int_
        return bool(numbers is not None and numbers.log and numbers.min > 0)

    @property
    def bounds(self) -> tuple[float, float]:
        """The first and the last place of values that are there."""
        if self.parameter.categorical is not None:
            return 0.0, float(len(self.parameter.categorical.choices) - 1)
        low, high = (float(each) for each in self.parameter.extremes)
        return (math.log10(low), math.log10(high)) if self.log else (low, high)

    @property
    def _absent_at(self) -> float:
        low, high = self.bounds
        return low - (1.0 if self.categorical else 0.12 * (high - low) or 1.0)

    @property
    def range(self) -> tuple[float, float]:
        """The first and the last place, with that of trials that do not have the parameter."""
        low, high = self.bounds
        first = self._absent_at if self.absent else low
        return (first, high) if high > first else (first - 0.5, high + 0.5)

    def place(self, parameters: Parameters) -> float:
        """The place of a trial with these parameters, with five significant digits."""
        path = self.parameter.path
        if path not in parameters:
            return self._absent_at
        value = parameters[path]
        if self.parameter.categorical is not None:
            return float(_index(self.parameter.categorical.choices, value))
        return float(f"{math.log10(value) if self.log else value:.5g}")

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Places of ticks with their texts, from low to high."""
        low, high = self.bounds
        first = [(self._absent_at, ABSENT)] if self.absent else []
        if self.parameter.categorical is not None:
            choices = enumerate(self.parameter.categorical.choices)
            return first + [(float(index), shown(choice)) for index, choice in choices]
        if not self.log:
            found = ticks(low, high, _TICKS)
            return first + [(each, f"{each:.6g}") for each in found]
        # Of a range of less than a decade, the bounds.
        decades = [float(each) for each in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
        every = max(1, math.ceil(len(decades) / (_TICKS + 1)))
        named = decades[::every] if len(decades) > 1 else [low, high]
        return first + [(each, f"{10**each:.4g}") for each in named]


def _index(choices: Sequence[Any], value: object) -> int:
    return next((index for index, each in enumerate(choices) if same(each, value)), -1)
