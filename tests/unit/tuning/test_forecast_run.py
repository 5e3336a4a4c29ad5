"""A search that forecasts itself: real steps of its corners, a record, a grade, and nothing left of the rehearsal."""

import asyncio
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.functions import Functions, requests
from helpers.jobs import Place, Places, make_search_place, tiny_job
from helpers.search_runs import TEMPLATE, Searching, account_of, iris_search, runner_of

from sapflow.errors import JobFailed
from sapflow.objects import keys
from sapflow.tuning.forecast.of_run import recorded
from sapflow.tuning.forecast.record import SearchForecast
from sapflow.tuning.runner import TuningObserver

RATE, HIDDEN = "spec.optimizer.learningRate", "spec.model.args.hidden"
WIDTHS: dict[str, Any] = {
    "parameters": [
        {"path": RATE, "float": {"min": 0.01, "max": 1.0, "log": True}},
        {"path": HIDDEN, "categorical": {"choices": [[8], [512, 512]]}},
    ]
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("forecasts"), make_search_place)


def place_of(places: Places) -> Place:
    return places.place(tiny_job(**TEMPLATE))


def record_of(place: Place) -> SearchForecast | None:
    search = runner_of(place, iris_search(), None)  # type: ignore[arg-type]  # nothing is called
    return asyncio.run(recorded(search._records))


@pytest.fixture(scope="module")
def done(places: Places) -> tuple[Searching, dict[str, Any], Place]:
    place = place_of(places)
    searching = Searching(place, iris_search(**WIDTHS), forecasts=True)
    _, outcome = searching.run()
    return searching, outcome, place


def test_the_corners_are_rehearsed_before_the_first_trial_and_leave_nothing(done: Any) -> None:
    searching, _, place = done
    jobs = [each["job"] for each in requests(searching.functions.log, "train")]
    rehearsed = [each for each in jobs if "/rehearsal/" in each]
    assert jobs[: len(rehearsed)] == rehearsed
    # Two workers: one step, then two and two more, of each corner.
    assert len(rehearsed) >= 2 * 2 * (1 + 2 + 2)
    assert not [name for name in place.listing() if name.startswith("rehearsal/")]
    assert "forecast.json" in place.listing()


def test_the_record_has_both_corners_and_all_figures(done: Any) -> None:
    _, _, place = done
    said = record_of(place)
    assert said is not None
    assert said.cheapest.parameters == {RATE: 0.1, HIDDEN: [8]}
    assert said.dearest.parameters == {RATE: 0.1, HIDDEN: [512, 512]}
    assert [each.path for each in said.growth] == [HIDDEN]
    assert said.growth[0].factor > 1
    assert said.cheapest.steps == said.dearest.steps == 4
    assert 0 < said.seconds.p10 <= said.seconds.p50 <= said.seconds.p90
    assert 0 < said.cost_usd.p10 <= said.cost_usd.p50 <= said.cost_usd.p90
    assert said.trials["begun"].p50 == 6
    assert said.ended_by == {"Completed": 1.0}
    assert said.limits.max_trials == 6


def test_the_outcome_grades_it(done: Any) -> None:
    _, outcome, place = done
    said, graded = record_of(place), outcome["forecast"]
    assert said is not None
    assert graded["seconds"] == said.seconds.p50
    assert graded["costError"] == pytest.approx(said.cost_usd.p50 / graded["measuredUSD"] - 1)
    assert graded["secondsError"] == pytest.approx(said.seconds.p50 / graded["measuredSeconds"] - 1)
    assert graded["costWithin"] == said.cost_usd.holds(graded["measuredUSD"])


def test_a_forecast_changes_no_trial(places: Places) -> None:
    plain = Searching(place_of(places), iris_search(order="InOrder", **WIDTHS))
    told = Searching(place_of(places), iris_search(order="InOrder", **WIDTHS), forecasts=True)
    (one, before), (other, after) = plain.run(), told.run()
    assert account_of(one) == account_of(other)
    assert (before["trial"], before["sha256"]) == (after["trial"], after["sha256"])


def test_a_search_that_goes_on_keeps_its_first_forecast_and_its_grade(done: Any) -> None:
    _, outcome, place = done
    before = record_of(place)
    again = Searching(place, iris_search(**WIDTHS), forecasts=True)
    _, found = again.run()
    assert found == outcome
    assert record_of(place) == before
    assert not requests(again.functions.log, "measure")


@pytest.mark.parametrize("write", [3, 40, 90])
def test_a_driver_that_dies_in_the_rehearsal_leaves_it_to_the_next(places: Places, write: int) -> None:
    place = place_of(places)
    searching = Searching(place, iris_search(**WIDTHS), forecasts=True, crashes=[(write, False)])
    _, outcome = searching.run()
    assert searching.runners == 2
    assert "forecast" in outcome
    assert not [name for name in place.listing() if name.startswith("rehearsal/")]


class Told(TuningObserver):
    def __init__(self) -> None:
        self.why = ""

    def not_forecast(self, why: str) -> None:
        self.why = why


def test_a_budget_that_is_not_enough_for_a_rehearsal_is_kept_and_told(places: Places) -> None:
    place = place_of(places)
    job = iris_search(budgetUSD=1e-7)
    told = Told()

    async def run() -> None:
        with pytest.raises(JobFailed, match="no trial has come to a result"):
            await runner_of(place, job, Functions(place.store), observer=told, forecasts=True).run()

    virtual_loop.run(run())
    assert "spec.budgetUSD" in told.why
    assert not place.store.exists(keys.forecast(place.resolved.prefix))
