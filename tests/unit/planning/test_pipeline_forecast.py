"""The sum of a pipeline's stages, and their grades."""

import pytest

from sapflow.planning.pipeline import RunTaken, StageForecast, StageKind, StageTaken, beside, graded, in_all
from sapflow.planning.spread import Spread


def stage(name: StageKind, low: float, middle: float, high: float) -> StageForecast:
    seconds = Spread(p10=low, p50=middle, p90=high)
    return StageForecast(document="flights", stage=name, seconds=seconds, cost_usd=seconds.times(0.01))


def taken(name: StageKind, seconds: float, dollars: float | None = None) -> StageTaken:
    return StageTaken(document="flights", stage=name, seconds=seconds, cost_usd=dollars)


STAGES = [stage("prepare", 8, 10, 14), stage("train", 40, 50, 60)]


def test_stages_that_are_slow_do_not_all_come_together() -> None:
    said = in_all(STAGES, 3.0)
    assert said.seconds.p50 == pytest.approx(60, rel=0.05)
    assert said.seconds.p10 > 48
    assert said.seconds.p90 < 74
    assert said.cost_usd.p50 == pytest.approx(said.seconds.p50 / 100)
    assert in_all(STAGES, 3.0) == said


def test_figures_between_and_beyond_those_that_are_known_lie_evenly_and_above_zero() -> None:
    spread = Spread(p10=1.0, p50=5.0, p90=7.0)
    assert [spread.at(share) for share in (0.1, 0.3, 0.5, 0.7, 0.9)] == pytest.approx([1, 3, 5, 6, 7])
    assert spread.at(0.0) == 0.0
    assert spread.at(1.0) == pytest.approx(7.5)


def test_what_was_measured_once_widens_a_figure_as_much_as_it_weighs() -> None:
    exact = Spread(p10=1.0, p50=1.0, p90=1.0)
    found = beside(exact, 10.0, "seed")
    assert found.p50 == pytest.approx(11, rel=0.05)
    assert found.p10 == pytest.approx(1 + 10 * 0.774, rel=0.05)
    assert found.p90 == pytest.approx(1 + 10 * 1.292, rel=0.05)
    assert beside(exact, 0.0, "seed") == exact


def test_a_stage_is_graded_by_what_all_runs_have_taken_and_its_newest_dollars() -> None:
    runs = [
        RunTaken(stages=[taken("prepare", 9.0), taken("train", 20.0, 0.2)]),
        RunTaken(stages=[taken("train", 20.0, 0.5)]),
    ]
    prepare, train = graded(in_all(STAGES, 3.0), runs)
    assert prepare["taken"] == {
        "seconds": 9.0,
        "secondsError": pytest.approx(10 / 9 - 1),
        "secondsWithin": True,
    }
    assert train["taken"]["seconds"] == 40.0
    assert train["taken"]["secondsError"] == pytest.approx(0.25)
    assert train["taken"]["costUSD"] == 0.5
    assert train["taken"]["costError"] == pytest.approx(0.0)


def test_a_stage_that_no_run_has_worked_on_has_no_grade() -> None:
    prepare, train = graded(in_all(STAGES, 3.0), [RunTaken(stages=[taken("train", 70.0)])])
    assert "taken" not in prepare
    assert train["taken"]["secondsWithin"] is False
