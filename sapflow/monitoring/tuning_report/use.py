"""Figures of what a search has used: dollars over time and by trial, calls in flight. Pure."""

import math
from collections.abc import Sequence
from typing import Any

from sapflow.monitoring.report.charts import thinned
from sapflow.monitoring.tuning_report.facts import SearchFacts
from sapflow.monitoring.tuning_report.figures import Figure, level, level_name, money_axis, rounded, time_unit
from sapflow.text import count, duration

_BARS = 200
_SPANS = 600
_PAUSES_MARKED = 12
_BUDGET_SHOWN = 0.2
"""The part of a budget that must be used for its line to be drawn: it would flatten the curve below it."""


def dollars(facts: SearchFacts) -> list[Figure]:
    """What the search had used over time, and what each trial has used."""
    unit, unit_name = time_unit(facts.time.seconds)
    known = facts.time.known
    points = [
        (each.seconds / unit if known else float(index + 1), each.dollars)
        for index, each in enumerate(facts.spent)
    ]
    shown = thinned([(0.0, 0.0), *points])
    total: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "name": "used",
        "x": rounded([x for x, _ in shown]),
        "y": rounded([y for _, y in shown]),
        "line": {"shape": "hv", "color": "var(--s1)", "width": 2},
    }
    budget = facts.state.limits.budget_usd
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": f"{unit_name} of running time" if known else "answers of trials"}},
        "yaxis": {"title": {"text": "dollars"}, "rangemode": "tozero", **money_axis()},
        "showlegend": False,
    }
    said = ""
    if budget is not None and facts.state.used < _BUDGET_SHOWN * budget:
        said = f"The budget is ${budget:g}."
    elif budget is not None:
        layout |= {"shapes": [level(budget)], "annotations": [level_name(budget, f"budget ${budget:g}")]}
    return [Figure("Dollars so far", [total], layout, said=said), _by_trial(facts)]


def _by_trial(facts: SearchFacts) -> Figure:
    trials = facts.trials
    each = max(1, math.ceil(len(trials) / _BARS))
    groups = [trials[first : first + each] for first in range(0, len(trials), each)]
    names = [
        f"trial {group[0].number}" if len(group) == 1 else f"trials {group[0].number} to {group[-1].number}"
        for group in groups
    ]
    bar: dict[str, Any] = {
        "type": "bar",
        "x": [(group[0].number + group[-1].number) / 2 for group in groups],
        "y": rounded([sum(trial.dollars for trial in group) for group in groups]),
        "width": [len(group) * 0.9 for group in groups],
        "text": names,
        "textposition": "none",
        "hovertemplate": "%{text}<br>%{y}<extra></extra>",
        "marker": {"color": "var(--s1)"},
    }
    layout = {
        "xaxis": {"title": {"text": "trial"}},
        "yaxis": {"title": {"text": "dollars"}, "rangemode": "tozero", **money_axis()},
        "showlegend": False,
    }
    said = "" if each == 1 else f"Each bar is {each} trials together."
    return Figure("Dollars by trial", [bar], layout, said=said)


def in_flight(facts: SearchFacts) -> Figure | None:
    """Calls in flight over the running time, against `maxWorkers`; None where the log has no times."""
    time = facts.time
    spans = time.merged(_SPANS)
    if not spans:
        return None
    unit, unit_name = time_unit(time.seconds)
    edges = rounded([*(span.begin / unit for span in spans), spans[-1].end / unit])

    def steps(values: Sequence[float]) -> list[float | None]:
        return rounded([*values, values[-1]])

    lines = (
        ("in flight", [span.calls for span in spans], {"color": "var(--s1)", "width": 1.5}, "tozeroy"),
        ("peak", [float(span.peak) for span in spans], {"color": "var(--s5)", "width": 1}, "none"),
        ("maxWorkers", [float(span.most) for span in spans], {"color": "var(--s3)", "dash": "dash"}, "none"),
    )
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": edges,
            "y": steps(values),
            "line": {"shape": "hv", **line},
            "fill": fill,
            **({"fillcolor": "var(--fill)"} if fill != "none" else {}),
        }
        for name, values, line, fill in lines
    ]
    layout: dict[str, Any] = {
        "xaxis": {"title": {"text": f"{unit_name} of running time"}},
        "yaxis": {"title": {"text": "calls"}, "rangemode": "tozero"},
        "hovermode": "x unified",
        "shapes": [_pause(pause.at / unit) for pause in time.pauses[:_PAUSES_MARKED]],
    }
    return Figure("Calls in flight", data, layout, said=_use_in_words(facts))


def _pause(at: float) -> dict[str, Any]:
    line = {"color": "var(--s2)", "dash": "dot", "width": 1}
    return {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": at, "x1": at, "line": line}


def _use_in_words(facts: SearchFacts) -> str:
    time, share = facts.time, facts.time.share_in_use
    said = "Calls that wait for a place are not counted."
    if share is not None:
        said = f"On the average {100 * share:.3g} % of maxWorkers were in use. {said}"
    if time.pauses:
        lost = sum(pause.seconds for pause in time.pauses)
        said += (
            f" {count(len(time.pauses), 'dotted line')}: there no driver ran, or what it did was not noted before it "
            f"ended, {duration(lost)} in all, which the time line leaves out."
        )
    return said
