"""Figures for Plotly as plain values, and what they have in common. Pure.

Colours are named by the page's CSS variables, as `var(--s1)`; the page's script puts their values in, light or dark.
Arrays that several figures draw are columns of the page, to which figures refer by `{"column": index}`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sapflow.quantities.metric import METRICS
from sapflow.spec.tuning_job import MEASURED
from sapflow.tuning.settings import Objective

Array = list[float | None] | list[int] | list[float] | list[str]
WEAK_TO_STRONG = [[0.0, "var(--scale-weak)"], [0.5, "var(--scale)"], [1.0, "var(--scale-strong)"]]
_OUTLIERS_ABOVE = 3.0
"""A worst value that is further from the middle of the values than so many times their spread is an outlier."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with a caption."""

    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int = 300
    said: str = ""
    """A sentence above it, as text."""
    width: int = 0
    """The least width in pixels; a narrower window scrolls it sideways."""
    kind: str = ""
    """What the script does beside drawing it."""


@dataclass
class Columns:
    """The arrays of a page."""

    arrays: list[Array] = field(default_factory=list)

    def add(self, array: Array) -> dict[str, int]:
        """A reference to the array, which figures have in its place."""
        self.arrays.append(array)
        return {"column": len(self.arrays) - 1}


def rounded(values: Sequence[float]) -> list[float | None]:
    """Values with five significant digits; None in place of those that are not finite."""
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in values]


def label(objective: Objective) -> str:
    """An objective's name for people."""
    known = METRICS.get(objective.metric)
    return objective.metric if known is None else known.label


def value_axis(objective: Objective, values: Sequence[float], needed: Sequence[float] = ()) -> dict[str, Any]:
    """The axis of an objective. A few values that are far worse than all others lie outside of what it shows first,
    unless they are `needed`."""
    axis: dict[str, Any] = {"title": {"text": label(objective)}, **number_format(objective)}
    limit = worst_shown(objective, values)
    if limit is not None and needed:
        limit = min(limit, *needed, key=objective.score)
    if limit is not None:
        good = [value for value in values if objective.score(value) >= objective.score(limit)]
        best = max(good, key=objective.score)
        margin = math.copysign(0.05 * abs(best - limit), best - limit)
        ends = sorted([best + margin, limit - margin])
        axis |= {"range": ends, "autorange": False}
    return axis


def worst_shown(objective: Objective, values: Sequence[float]) -> float | None:
    """The worst value that charts show at first; None where they show all."""
    scores = sorted(objective.score(value) for value in values if math.isfinite(value))
    if len(scores) < 8:
        return None
    first, middle = scores[len(scores) // 4], scores[len(scores) // 2]
    spread = max(middle - first, scores[-1] - middle)
    floor = middle - _OUTLIERS_ABOVE * spread
    if spread <= 0 or scores[0] >= floor:
        return None
    return floor if objective.maximize else -floor


def number_format(objective: Objective) -> dict[str, Any]:
    """How an axis and what is shown at the pointer write an objective's values."""
    known = METRICS.get(objective.metric)
    if objective.metric in MEASURED:
        return money_axis() if objective.metric == "dollars" else {"ticksuffix": " s"}
    if known is not None and known.share:
        return {"tickformat": ".4~p"}
    return {"tickformat": ".4~g"}


def money_axis() -> dict[str, Any]:
    return {"tickprefix": "$", "tickformat": ".4~g"}


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit in which a time line of so many seconds is drawn: its seconds, and its name."""
    if seconds < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")


def level(value: float) -> dict[str, Any]:
    """A dashed horizontal line."""
    line = {"color": "var(--s3)", "dash": "dash", "width": 1.4}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line}


def level_name(value: float, text: str) -> dict[str, Any]:
    """The text at the right end of a `level`."""
    place = {"xref": "paper", "x": 1, "y": value, "xanchor": "right", "yanchor": "bottom"}
    return {**place, "text": text, "showarrow": False, "font": {"color": "var(--s3)"}}
