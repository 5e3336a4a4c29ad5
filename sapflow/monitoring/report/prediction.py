"""The part of the report that compares predictions with what a job's steps took. Pure."""

from collections.abc import Callable
from html import escape
from itertools import pairwise

from sapflow.driver.result import forecast_against
from sapflow.monitoring.display import forecast_line, off
from sapflow.monitoring.report.elements import table
from sapflow.monitoring.report.facts import Facts
from sapflow.text import count, dollars, duration


def section(facts: Facts) -> list[str]:
    """The section's content: today's cost model, then the forecasts that the job was planned with."""
    return [_cost_model(facts), *_forecasts(facts)]


def _cost_model(facts: Facts) -> str:
    if facts.predicted is None:
        return f'<p class="empty">No prediction: {escape(facts.not_predicted or "none was made")}.</p>'
    predicted, rows = facts.predicted, []
    for label, said, seen, form in (
        ("seconds a step", predicted.seconds, facts.seconds_per_step, duration),
        ("dollars a step", predicted.dollars, facts.dollars_per_step, dollars),
    ):
        rows.append([label, form(said), "–" if seen is None else form(seen), _times(said, seen)])
    levels = facts.levels
    if len(levels) == len(predicted.levels):
        for level in range(len(levels) - 1, -1, -1):
            seen = levels[level].slowest
            said = predicted.levels[level]
            label = f"slowest call: {facts.level_name(level)}"
            rows.append([label, duration(said), duration(seen), _times(said, seen)])
    note = (
        "<p>Warm steps: what the planner's cost model predicts with its stored constants, beside the median of this "
        "job's steps in which no function had to be started.</p>"
    )
    return note + table(["", "predicted", "measured", "measured / predicted"], rows)


def _times(said: float, seen: float | None) -> str:
    return "–" if seen is None or not said > 0 else f"{seen / said:.2f} ×"


def _forecasts(facts: Facts) -> list[str]:
    """The forecast of each plan beside what its steps took; empty if nothing was forecast."""
    first, chosen = facts.history.start.forecast, facts.history.result
    if first is None:
        return []
    total = f"{duration(first.seconds)} and {dollars(first.dollars)} for {count(first.steps, 'step')}"
    said = f"Forecast before the first step: {total}, from {first.constants}."
    against = (facts.outcome or {}).get("forecast") or forecast_against(facts.history.start, chosen)
    if against is not None:
        taken = "taken" if facts.outcome is not None else "taken so far"
        said += f" For the {count(chosen.version, 'step')} {taken}: {forecast_line(against)}."
    said += " What was measured includes cold starts, evaluations and faults; a forecast includes none."
    return [f"<p>{escape(said)}</p>", _by_plan(facts)]


def _by_plan(facts: Facts) -> str:
    """The table with a row for each forecast, about the steps from its plan to the next one or to the end."""
    end = facts.history.result
    made = [each for each in facts.history.forecasts if each.version <= end.version]
    rows = []
    for begin, until in pairwise([*made, end]):
        assert begin.forecast is not None
        steps = until.version - begin.version
        seconds = until.account.seconds - begin.account.seconds
        spent = until.account.cost_usd - begin.account.cost_usd
        when = (
            "before the first step" if begin.version == 0 else f"re-planned after version {begin.version:,}"
        )
        row = [when, f"{steps:,}"]
        row += _beside(begin.forecast.seconds_per_step, seconds, steps, duration)
        row += _beside(begin.forecast.dollars_per_step, spent, steps, dollars)
        rows.append(row)
    figures = [head for unit in ("seconds", "dollars") for head in (f"{unit} a step", "measured", "error")]
    return table(["forecast", "steps", *figures], rows)


def _beside(said: float, came: float, steps: int, form: Callable[[float], str]) -> list[str]:
    """The predicted figure of a step, the measured mean, and the error as a share of that mean."""
    if not steps or not came > 0:
        return [form(said), "–", "–"]
    return [form(said), form(came / steps), off(said / (came / steps) - 1)]
