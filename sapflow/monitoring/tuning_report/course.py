"""Figures of how a search went: objectives, the best so far, values by length. Pure."""

import math
from collections.abc import Sequence
from typing import Any

from sapflow.monitoring.report.charts import thinned
from sapflow.monitoring.tuning_report.facts import SearchFacts
from sapflow.monitoring.tuning_report.figures import (
    Columns,
    Figure,
    level,
    level_name,
    money_axis,
    rounded,
    time_unit,
    value_axis,
)
from sapflow.monitoring.tuning_report.selection import Selection, evenly
from sapflow.text import count

PHASES = {
    "Finished": ("var(--s1)", "circle"),
    "Paused": ("var(--s5)", "circle-open"),
    "Running": ("var(--s3)", "diamond"),
    "Stopping": ("var(--s8)", "x-thin-open"),
    "Stopped": ("var(--s8)", "x-thin-open"),
}
"""Colour and symbol of a trial by its phase. A failed one has no value."""
MOST_CURVES = 240
_STRONG_CURVES = 5


def history(facts: SearchFacts, drawn: Selection, labels: Sequence[str], columns: Columns) -> Figure:
    """Each trial's objective by its number, with the best so far of all trials."""
    objective = facts.settings.objectives[0]
    known = [
        (trial, text)
        for trial, text in zip(drawn.trials, labels, strict=True)
        if trial.values and math.isfinite(trial.values[0])
    ]
    data: list[dict[str, Any]] = []
    for phase, (colour, symbol) in PHASES.items():
        found = [(trial, text) for trial, text in known if trial.phase == phase]
        if found:
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": phase.lower(),
                    "x": columns.add([trial.number for trial, _ in found]),
                    "y": columns.add(rounded([trial.values[0] for trial, _ in found])),
                    "text": columns.add([text for _, text in found]),
                    "hovertemplate": "%{text}<br>%{y}<extra></extra>",
                    "marker": {
                        "color": colour,
                        "symbol": symbol,
                        "size": 7,
                        "line": {"width": 1.5, "color": colour},
                    },
                }
            )
    steps: list[tuple[float, float]] = []
    for trial in facts.trials:
        if trial.values and trial.phase in PHASES and _is_better(facts, trial.values[0], steps):
            steps.append((float(trial.number), trial.values[0]))
    if steps:
        steps.append((float(len(facts.trials) - 1), steps[-1][1]))
        data.append(_best_line("best so far", steps))
    values = [trial.values[0] for trial in facts.trials if trial.values]
    layout = {"xaxis": {"title": {"text": "trial"}}, "yaxis": value_axis(objective, values), **_goal(facts)}
    return Figure("Objective by trial", data, layout, height=380)


def _is_better(facts: SearchFacts, value: float, steps: Sequence[tuple[float, float]]) -> bool:
    score = facts.settings.objectives[0].score
    return score(value) > (score(steps[-1][1]) if steps else -math.inf)


def _best_line(name: str, points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    shown = thinned(points)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": rounded([x for x, _ in shown]),
        "y": rounded([y for _, y in shown]),
        "line": {"shape": "hv", "color": "var(--s2)", "width": 2},
    }


def _goal(facts: SearchFacts) -> dict[str, Any]:
    goal = facts.settings.objectives[0].goal
    if goal is None:
        return {}
    return {"shapes": [level(goal)], "annotations": [level_name(goal, f"goal {goal:.4g}")]}


def best_so_far(facts: SearchFacts) -> list[Figure]:
    """The best objective that was known against what the search had used by then: running time and dollars."""
    objective = facts.settings.objectives[0]
    unit, unit_name = time_unit(facts.time.seconds)
    found = []
    for title, name, axis, per in (
        ("Best so far by time", "seconds", {"title": {"text": f"{unit_name} of running time"}}, unit),
        ("Best so far by dollars", "dollars", {"title": {"text": "dollars"}, **money_axis()}, 1.0),
    ):
        if name == "seconds" and not facts.time.known:
            continue
        steps: list[tuple[float, float]] = []
        for each in facts.evaluated:
            if _is_better(facts, each.values[0], steps):
                steps.append((getattr(each, name) / per, each.values[0]))
        if not steps:
            continue
        last = (facts.time.seconds if name == "seconds" else facts.state.used) / per
        line = _best_line("best so far", [*steps, (max(last, steps[-1][0]), steps[-1][1])])
        values = [value for _, value in steps]
        layout = {
            "xaxis": {**axis, "rangemode": "tozero"},
            "yaxis": value_axis(objective, values),
            "showlegend": False,
        }
        found.append(Figure(title, [line], layout))
    return found


def by_length(facts: SearchFacts) -> Figure | None:
    """Each trial's objective by the length at which it was judged; None where no trial was judged twice."""
    objective = facts.settings.objectives[0]
    curves: dict[int, list[tuple[float, float]]] = {}
    for each in facts.evaluated:
        if math.isfinite(each.values[0]):
            curves.setdefault(each.trial, []).append((float(each.at), each.values[0]))
    if not any(len(points) > 1 for points in curves.values()):
        return None
    order = [trial.number for trial in facts.ranked if trial.number in curves]
    taken = set(order)
    order += [number for number in curves if number not in taken]
    strong, rest = order[:_STRONG_CURVES], order[_STRONG_CURVES:]
    faint = [*rest[: MOST_CURVES // 2], *evenly(rest[MOST_CURVES // 2 :], MOST_CURVES // 2)]
    x: list[float | None] = []
    y: list[float | None] = []
    texts: list[str] = []
    for number in faint:
        points = curves[number]
        x += [*(at for at, _ in points), None]
        y += [*rounded([value for _, value in points]), None]
        texts += [f"trial {number}"] * (len(points) + 1)
    style = {"mode": "lines+markers", "type": "scatter"}
    data: list[dict[str, Any]] = []
    if faint:
        colour = "var(--faint)"
        data.append(
            {
                **style,
                "name": "others",
                "x": x,
                "y": y,
                "text": texts,
                "hovertemplate": "%{text}<br>%{y}<extra></extra>",
                "line": {"color": colour, "width": 1},
                "marker": {"color": colour, "size": 4},
            }
        )
    for place, number in enumerate(strong):
        points = curves[number]
        colour = f"var(--s{place + 1})"
        data.append(
            {
                **style,
                "name": f"trial {number}",
                "x": [at for at, _ in points],
                "y": rounded([value for _, value in points]),
                "line": {"color": colour, "width": 2},
                "marker": {"color": colour, "size": 6},
            }
        )
    lengths = sorted({int(each.at) for each in facts.evaluated})
    axis: dict[str, Any] = {"title": {"text": f"{facts.unit}s"}}
    if len(lengths) > 1 and lengths[-1] >= 8 * max(lengths[0], 1):
        axis |= {"type": "log", "tickvals": evenly(lengths, 8)}
    values = [value for points in curves.values() for _, value in points]
    layout = {"xaxis": axis, "yaxis": value_axis(objective, values), "hovermode": "closest"}
    left_out = len(order) - len(strong) - len(faint)
    said = f"The best {len(strong)} trials are in colour."
    if left_out:
        said += f" {count(left_out, 'trial')} of {len(order):,} are not drawn."
    return Figure("Values on the way", data, layout, height=380, said=said)
