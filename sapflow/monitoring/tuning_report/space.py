"""Figures of the space that a search has tried: parallel coordinates, importance, slices, the Pareto front. Pure."""

import math
from collections.abc import Sequence
from typing import Any

from sapflow.monitoring.tuning_display import short_names
from sapflow.monitoring.tuning_report.axes import ParameterAxis
from sapflow.monitoring.tuning_report.facts import SearchFacts
from sapflow.monitoring.tuning_report.figures import (
    WEAK_TO_STRONG,
    Columns,
    Figure,
    label,
    rounded,
    value_axis,
    worst_shown,
)
from sapflow.monitoring.tuning_report.importance import Importance
from sapflow.monitoring.tuning_report.selection import Selection, evenly
from sapflow.quantities.metric import METRICS
from sapflow.spec.tuning_job import MEASURED
from sapflow.text import count
from sapflow.tuning.settings import Objective
from sapflow.tuning.trial import Trial

MOST_AXES = 12
"""The most parameters that get an axis or a slice."""
_AXIS_PIXELS = 110
_JITTER = 0.28
"""Trials of one choice lie so far to both sides of it, at most, so that they do not hide each other."""


def axes_of(facts: SearchFacts, found: Sequence[Importance]) -> list[ParameterAxis]:
    """An axis for each parameter in the spec's order; with many parameters for those of the most importance."""
    parameters = facts.settings.parameters
    names = short_names([each.path for each in parameters])
    order = list(found[0].shares) if found else []
    important = sorted(
        parameters, key=lambda each: order.index(each.path) if each.path in order else len(order)
    )[:MOST_AXES]
    return [
        ParameterAxis(
            each,
            names[each.path],
            any(each.path not in trial.parameters for trial in facts.trials),
        )
        for each in parameters
        if each in important
    ]


def valued(drawn: Selection) -> list[Trial]:
    """The drawn trials that have a value."""
    return [trial for trial in drawn.trials if trial.values and math.isfinite(trial.values[0])]


def parallel(
    facts: SearchFacts, drawn: Selection, axes: Sequence[ParameterAxis], columns: Columns
) -> Figure | None:
    """An axis for each parameter and each objective, a line for each trial; None without values."""
    trials = valued(drawn)
    if not trials:
        return None
    objective = facts.settings.objectives[0]
    order = sorted(trials, key=lambda trial: objective.score(trial.values[0]))
    place = {trial.number: index for index, trial in enumerate(order)}
    dimensions: list[dict[str, Any]] = []
    for axis in axes:
        marks = axis.marks
        dimensions.append(
            {
                "label": axis.name,
                "range": list(axis.range),
                "values": columns.add([axis.place(trial.parameters) for trial in trials]),
                "tickvals": [at for at, _ in marks],
                "ticktext": [text for _, text in marks],
            }
        )
    clipped = 0
    for index, each in enumerate(facts.settings.objectives):
        values = [trial.values[index] for trial in trials]
        worst = worst_shown(each, values)
        shown = [_clip(each, value, worst) for value in values]
        if index == 0:
            clipped = sum(one != two for one, two in zip(values, shown, strict=True))
        dimensions.append(
            {"label": label(each), "values": columns.add(rounded(shown)), **_dimension(each, shown)}
        )
    line = {
        "color": columns.add([place[trial.number] for trial in trials]),
        "colorscale": WEAK_TO_STRONG,
        "cmin": 0,
        "cmax": max(len(trials) - 1, 1),
    }
    trace = {
        "type": "parcoords",
        "line": line,
        "dimensions": dimensions,
        "customdata": columns.add([trial.number for trial in trials]),
        "unselected": {"line": {"color": "var(--faint)", "opacity": 0.15}},
        "labelangle": -18,
        "labelside": "top",
        "rangefont": {"size": 1, "color": "rgba(0,0,0,0)"},
    }
    said = (
        "Drag along an axis to keep the trials that pass there; click on it to take all again. The stronger the "
        "colour, the better the trial."
    )
    if clipped:
        said += f" Far worse values, those of {count(clipped, 'trial')}, are drawn at the edge of the objective's axis."
    if len(axes) < len(facts.settings.parameters):
        said += f" {len(axes)} of {len(facts.settings.parameters)} parameters are drawn, those of the most importance."
    layout = {"margin": {"l": 60, "r": 60, "t": 70, "b": 24}}
    width = _AXIS_PIXELS * len(dimensions)
    return Figure("Parallel coordinates", [trace], layout, 420, said, width, kind="brush")


def _clip(objective: Objective, value: float, worst: float | None) -> float:
    if worst is None or objective.score(value) >= objective.score(worst):
        return value
    return worst


def _dimension(objective: Objective, values: Sequence[float]) -> dict[str, Any]:
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    known = METRICS.get(objective.metric)
    share = known is not None and known.share and objective.metric not in MEASURED
    spread = {} if high > low else {"range": [low - 0.5, low + 0.5]}
    return {"tickformat": ".4~p" if share else ".4~g", **spread}


def importances(found: Sequence[Importance], axes: Sequence[ParameterAxis]) -> Figure | None:
    """Bars of the parameters' shares, for each objective; None where none could be computed."""
    if not found:
        return None
    names = {axis.parameter.path: axis.name for axis in axes}
    paths = [path for path in found[0].shares if path in names][::-1]
    data: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": each.objective,
            "y": [names[path] for path in paths],
            "x": rounded([each.shares.get(path, 0.0) for path in paths]),
            "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
            "marker": {"color": f"var(--s{index + 1})"},
        }
        for index, each in enumerate(found)
    ]
    first = found[0]
    where = "" if first.at is None else f" at length {first.at:,}, which the most trials have reached,"
    said = (
        f"How much of whether a trial is among the best {first.best:,} of {first.trials:,}{where} each parameter "
        "explains by itself (PED-ANOVA)."
    )
    layout = {
        "xaxis": {"tickformat": ".0%", "rangemode": "tozero"},
        "yaxis": {"type": "category"},
        "showlegend": len(found) > 1,
        "barmode": "group",
    }
    return Figure("Importance of parameters", data, layout, 110 + 30 * len(paths) * len(found), said)


def slices(
    facts: SearchFacts,
    drawn: Selection,
    labels: Sequence[str],
    axes: Sequence[ParameterAxis],
    columns: Columns,
) -> list[Figure]:
    """For each parameter, the objective against its value; the colour is the trial's number."""
    objective = facts.settings.objectives[0]
    trials = valued(drawn)
    if not trials:
        return []
    texts = {trial.number: text for trial, text in zip(drawn.trials, labels, strict=True)}
    y = columns.add(rounded([trial.values[0] for trial in trials]))
    text = columns.add([texts[trial.number] for trial in trials])
    numbers = columns.add([trial.number for trial in trials])
    scale = value_axis(objective, [trial.values[0] for trial in trials])
    found = []
    for axis in axes:
        marker = {
            "color": numbers,
            "colorscale": WEAK_TO_STRONG,
            "cmin": 0,
            "cmax": max(len(facts.trials) - 1, 1),
            "size": 6,
            "line": {"width": 0.5, "color": "var(--card)"},
        }
        trace = {
            "type": "scatter",
            "mode": "markers",
            "x": columns.add([_beside(axis, trial) for trial in trials]),
            "y": y,
            "text": text,
            "hovertemplate": "%{text}<br>%{y}<extra></extra>",
            "marker": marker,
        }
        low, high = axis.range
        room = _JITTER * 1.5 if axis.categorical else 0.04 * (high - low)
        marks = axis.marks
        x_axis = {
            "title": {"text": axis.name},
            "range": [low - room, high + room],
            "tickvals": [at for at, _ in marks],
            "ticktext": [each for _, each in marks],
            "zeroline": False,
        }
        layout = {"xaxis": x_axis, "yaxis": scale, "showlegend": False, "hovermode": "closest"}
        found.append(Figure(f"{label(objective)} by {axis.name}", [trace], layout, height=260))
    return found


def _beside(axis: ParameterAxis, trial: Trial) -> float:
    """A trial's place, beside its choice where the parameter is a categorical."""
    at = axis.place(trial.parameters)
    if not axis.categorical:
        return at
    golden = trial.number * 0.61803398875 % 1.0
    return round(at + _JITTER * (2 * golden - 1), 3)


def front(facts: SearchFacts, drawn: Selection, labels: Sequence[str], columns: Columns) -> Figure | None:
    """The second objective against the first, with the front; None where there is one objective."""
    objectives = facts.settings.objectives
    if len(objectives) < 2:
        return None
    best = facts.front
    on_front = {trial.number for trial in best}
    others = [
        (trial, text)
        for trial, text in zip(drawn.trials, labels, strict=True)
        if len(trial.values) > 1 and all(map(math.isfinite, trial.values)) and trial.number not in on_front
    ]
    texts = {trial.number: text for trial, text in zip(drawn.trials, labels, strict=True)}
    data: list[dict[str, Any]] = []
    for name, group, mode, marker in (
        ("others", others, "markers", {"color": "var(--faint)", "size": 6}),
        (
            "front",
            [
                (trial, texts.get(trial.number, f"trial {trial.number}"))
                for trial in evenly(best, len(drawn.trials))
            ],
            "lines+markers",
            {"color": "var(--s2)", "size": 9},
        ),
    ):
        if group:
            first, second = (rounded([trial.values[index] for trial, _ in group]) for index in (0, 1))
            data.append(
                {
                    "type": "scatter",
                    "mode": mode,
                    "name": name,
                    "x": columns.add(second),
                    "y": columns.add(first),
                    "text": columns.add([text for _, text in group]),
                    "hovertemplate": "%{text}<br>%{y}, %{x}<extra></extra>",
                    "marker": marker,
                    "line": {"color": "var(--s2)", "width": 1},
                }
            )
    seconds = [trial.values[1] for trial in facts.trials if len(trial.values) > 1]
    firsts = [trial.values[0] for trial in facts.trials if trial.values]
    layout = {
        "xaxis": value_axis(objectives[1], seconds, [trial.values[1] for trial in best]),
        "yaxis": value_axis(objectives[0], firsts, [trial.values[0] for trial in best]),
        "hovermode": "closest",
    }
    said = (
        f"{count(len(best), 'trial')} that no other one beats in both {label(objectives[0])} "
        f"({_sought(objectives[0].maximize)}) and {label(objectives[1])} ({_sought(objectives[1].maximize)})."
    )
    return Figure("Pareto front", data, layout, height=400, said=said)


def _sought(maximize: bool) -> str:
    return "more is better" if maximize else "less is better"
