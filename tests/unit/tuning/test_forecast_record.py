"""The record of a forecast: its figures, and how it is graded."""

from typing import Any

import pytest

from sapflow.monitoring.display import spread_line
from sapflow.tuning.forecast.record import (
    ForecastLimits,
    RehearsedCorner,
    SearchForecast,
    Spread,
    grade,
    summary,
)

LIMITS = ForecastLimits(parallel_trials=4, max_trials=16, max_workers=8)
CORNER = RehearsedCorner(
    parameters={"spec.optimizer.learningRate": 0.1},
    steps=100,
    seconds_per_step=0.01,
    dollars_per_step=1e-6,
    estimated_seconds_per_step=0.008,
    begin_seconds=0.2,
    resume_seconds=0.1,
    pause_seconds=0.05,
    trial_seconds=1.25,
    trial_dollars=1e-4,
)


def forecast(**changes: Any) -> SearchForecast:
    fields: dict[str, Any] = {
        "seconds": Spread(p10=80.0, p50=100.0, p90=130.0),
        "cost_usd": Spread(p10=0.4, p50=0.5, p90=0.7),
        "trials": {"begun": Spread(p10=16, p50=16, p90=16)},
        "ended_by": {"Completed": 1.0},
        "draws": 100,
        "played": 16,
        "calls": 8,
        "limits": LIMITS,
        "cheapest": CORNER,
        "dearest": CORNER,
        "growth": [],
    }
    return SearchForecast(**(fields | changes))


def graded(**changes: Any) -> dict[str, Any]:
    seen: dict[str, Any] = {"seconds": 125.0, "dollars": 0.4, "ended_by": "Completed", "limits": LIMITS}
    return grade(forecast(), **(seen | changes))


def test_a_spread_is_the_tenth_the_middle_and_the_ninetieth_of_a_hundred() -> None:
    found = Spread.of([float(value) for value in range(101)])
    assert (found.p10, found.p50, found.p90) == (10.0, 50.0, 90.0)
    assert Spread.of([3.0]) == Spread(p10=3.0, p50=3.0, p90=3.0)
    between = Spread.of([0.0, 1.0])
    assert between.p10 == pytest.approx(0.1)
    assert between.p50 == pytest.approx(0.5)
    assert found.holds(10.0)
    assert not found.holds(9.9)
    assert not found.holds(90.1)


def test_a_grade_is_the_middle_by_what_was_measured_and_whether_that_lay_within() -> None:
    found = graded()
    assert found["secondsError"] == pytest.approx(100 / 125 - 1)
    assert found["secondsWithin"] is True
    assert found["costError"] == pytest.approx(0.5 / 0.4 - 1)
    assert found["costWithin"] is True
    far = graded(seconds=200.0, dollars=0.25)
    assert far["secondsError"] == pytest.approx(-0.5)
    assert far["costError"] == pytest.approx(1.0)
    assert (far["secondsWithin"], far["costWithin"]) == (False, False)
    assert (far["seconds"], far["costUSD"]) == (100.0, 0.5)


def test_a_search_that_met_its_goal_or_whose_limits_were_changed_is_not_graded() -> None:
    others = LIMITS.model_copy(update={"max_trials": 32})
    for found in (graded(ended_by="GoalReached"), graded(limits=others)):
        assert found == summary(forecast())
    assert "costError" not in graded(dollars=0.0)


def test_a_record_is_read_as_it_was_written() -> None:
    said = forecast(refused=0.25, refusal="spec.memory.worker is too little", constants="a cluster's")
    body = said.body()
    assert SearchForecast.model_validate(body) == said
    assert body["costUSD"] == {"p10": 0.4, "p50": 0.5, "p90": 0.7}
    assert "rehearsalCostUSD" in body


def test_a_line_tells_the_forecast_its_spread_and_its_grade() -> None:
    said = "1 min 40 s (1 min 20 s to 2 min 10 s) and $0.500 ($0.400 to $0.700)"
    assert spread_line(summary(forecast())) == said
    assert spread_line(graded()) == f"{said}: 20 % too little of time, within; 25 % too much of cost, within"
    assert "50 % too little of time, outside" in spread_line(graded(seconds=200.0))
