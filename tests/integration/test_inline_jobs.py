"""Contributions inside requests and answers: the same weights as by the store, whatever dies."""

from typing import Any

import pytest
from helpers.functions import requests
from helpers.jobs import Crash, Place, Places, Simulation, tiny_job
from helpers.schedules import SCHEDULES, THOROUGH, Schedule
from hypothesis import given, settings

from sapflow.errors import JobFailed, SpecError

JOBS: dict[str, dict[str, Any]] = {
    "tree": {},
    "flat": {"merge_structure": [1, 4]},
    "sharded, on warm workers": {
        "merge_shards": 3,
        "merge_reuseWorkers": True,
        "model_args": {"hidden": [48, 48]},
        "optimizer_name": "Adam",
        "optimizer_clipNorm": 0.5,
    },
    "local steps": {"algorithm_localSteps": 2, "algorithm_localState": "Keep", "optimizer_name": "Adam"},
    "many children": {
        "workers": 38,
        "merge_structure": [1, 2, 38],
        "data_batchSize": 2,
        "algorithm_steps": 3,
    },
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module")
def by_store(places: Places) -> dict[str, str]:
    """The SHA-256 of each job's weights where contributions go by the store."""
    return {
        name: Simulation(places.place(tiny_job(**changes, merge_channel="Store"))).run()["sha256"]
        for name, changes in JOBS.items()
    }


def inline(places: Places, name: str) -> Place:
    return places.place(tiny_job(**JOBS[name], merge_channel="Inline"))


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("hurry", [0.0, 1.0])
def test_the_weights_are_those_by_the_store_and_no_contribution_is_written(
    name: str, hurry: float, places: Places, by_store: dict[str, str]
) -> None:
    written: list[str] = []
    simulation = Simulation(
        inline(places, name),
        hurry=hurry,
        function_failpoint=lambda write, after: written.append(write.key),
    )
    assert simulation.run()["sha256"] == by_store[name]
    contributions = [key for key in written if "/work/" in key and "cursor" not in key and "total" not in key]
    assert contributions == []
    assert written, "nothing was seen of any write"


def test_a_merger_that_goes_on_gets_only_the_children_that_are_left(places: Places) -> None:
    simulation = Simulation(inline(places, "many children"), hurry=1.0)
    simulation.run()
    merges = requests(simulation.functions.log, "merge")
    resumed = [each for each in merges if "cursor" in each]
    assert resumed
    assert all(each["summed"] == 16 for each in resumed)
    assert all(len(each["children"]) == 19 for each in merges)


@pytest.mark.parametrize("name", ["tree", "sharded, on warm workers"])
@settings(THOROUGH, max_examples=15)
@given(schedule=SCHEDULES)
def test_any_schedule_of_faults_ends_in_the_undisturbed_weights(
    places: Places, by_store: dict[str, str], name: str, schedule: Schedule
) -> None:
    place = inline(places, name)
    try:
        simulation = Simulation(
            place,
            schedule.faults,
            schedule.crashes,
            drivers=schedule.drivers,
            hurry=schedule.hurry,
            seed=schedule.seed,
        )
        assert simulation.run()["sha256"] == by_store[name]
    finally:
        places.remove(place)


def test_two_drivers_and_one_that_dies_leave_nothing_behind(places: Places, by_store: dict[str, str]) -> None:
    place = inline(places, "tree")
    simulation = Simulation(place, drivers=2, crashes=[Crash(7, "before"), Crash(12, "after")], seed=4)
    assert simulation.run()["sha256"] == by_store["tree"]
    assert [name for name in place.listing() if name.startswith("work/")] == []


def test_inline_that_does_not_fit_fails_with_the_field_and_the_remedy(places: Places) -> None:
    place = places.place(tiny_job(model_args={"hidden": [512, 512]}, merge_shards=1, merge_channel="Inline"))
    with pytest.raises((JobFailed, SpecError), match=r"spec\.merge\.channel.*Inline does not fit"):
        Simulation(place).run()


def test_small_contributions_are_inline_where_nothing_else_is_asked_for(places: Places) -> None:
    simulation = Simulation(places.place(tiny_job(merge_channel=None)))
    simulation.run()
    channels = {
        child["channel"] for each in requests(simulation.functions.log, "merge") for child in each["children"]
    }
    assert channels == {"inline"}
