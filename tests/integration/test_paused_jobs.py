"""Jobs that pause at versions and go on later: the bits and the values are those of the job that never paused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from helpers import virtual_loop
from helpers.functions import Functions, requests
from helpers.jobs import Place, make_place, tiny_job

from sapflow.driver.driver import Driver
from sapflow.driver.pause import Pause
from sapflow.objects import keys
from sapflow.records.commits import Records

ALGORITHMS: dict[str, dict[str, Any]] = {
    "gradient": {},
    "local steps": {"algorithm_localSteps": 2, "algorithm_localState": "Keep", "merge_structure": [1, 4]},
    "plateau": {"optimizer_schedule": {"name": "Plateau", "metric": "ValidationLoss", "patience": 1}},
    "best": {"evaluation_keepBest": "accuracy"},
}


def through(place: Place, *stops: int | None, functions: Functions | None = None) -> list[Any]:
    """What a driver for each of the stops has returned, one after the other."""
    sender = functions or Functions(place.store)

    async def body() -> list[Any]:
        return [
            await Driver(place.resolved, place.manifest, place.store, sender).run_until(stop)
            for stop in stops
        ]

    ended: list[Any] = virtual_loop.run(body())
    return ended


def evaluation(place: Place, version: int) -> Any:
    return asyncio.run(
        Records(place.store, place.resolved.prefix).read(keys.evaluation(place.resolved.prefix, version))
    )


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_job_that_pauses_twice_ends_with_the_bits_and_values_of_one_that_never_does(
    tmp_path: Path, name: str
) -> None:
    job = tiny_job(**ALGORITHMS[name], algorithm_steps=7)
    alone, paused = make_place(tmp_path / "alone", job), make_place(tmp_path / "paused", job)
    (expected,) = through(alone, None)
    first, second, outcome = through(paused, 3, 4, None)
    assert (first.version, second.version) == (3, 4)
    assert second.account.invocations > first.account.invocations
    assert outcome["sha256"] == expected["sha256"]
    for given in ("version", "validationLoss", "validationAccuracy", "chosenBy"):
        assert outcome[given] == expected[given]
    assert [each.digest for each in paused.commits()] == [each.digest for each in alone.commits()]
    assert paused.of_no_version() == alone.of_no_version()


def test_a_pause_has_the_metrics_of_its_version_although_that_is_not_due(tmp_path: Path) -> None:
    job = tiny_job(algorithm_steps=4, evaluation_everySteps=2)
    each = make_place(tmp_path / "each", tiny_job(algorithm_steps=4, evaluation_everySteps=1))
    through(each, None)
    place = make_place(tmp_path / "place", job)
    (pause,) = through(place, 1)
    assert pause.metrics
    assert evaluation(place, 1) == evaluation(each, 1)
    assert pause.metrics["loss"] == evaluation(each, 1)["loss"]
    # What is not due has no say: the last commit knows of no judgement.
    assert [commit.judged for commit in place.commits()] == [None, None]


def test_a_pause_begins_no_step_and_what_only_older_versions_needed_is_gone(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", tiny_job(algorithm_steps=6))
    functions = Functions(place.store)
    through(place, 3, functions=functions)
    assert {request["version"] for request in requests(functions.log, "train")} == {1, 2, 3}
    assert place.of_no_version() == []


def test_who_asks_for_the_version_where_a_job_stands_is_told_the_same_without_a_step(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", tiny_job(algorithm_steps=6))
    functions = Functions(place.store)
    first, again = through(place, 3, 3, functions=functions)
    assert (again.version, again.metrics) == (first.version, first.metrics)
    assert len(requests(functions.log, "evaluate")) == 2  # versions 2 and 3
    assert len(requests(functions.log, "train")) == 12


def test_a_job_that_ends_before_it_would_pause_ends(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", tiny_job(algorithm_steps=3))
    (outcome,) = through(place, 8)
    assert not isinstance(outcome, Pause)
    assert outcome["version"] == 3
    target = make_place(tmp_path / "target", tiny_job(algorithm_steps=9, algorithm_targetAccuracy=0.01))
    (reached,) = through(target, 4)
    assert reached["version"] == 2
    assert reached["chosenBy"] == "Target"


def test_a_pinned_version_stays_until_a_driver_no_longer_pins_it(tmp_path: Path) -> None:
    """Other jobs have begun at it."""
    place = make_place(tmp_path / "place", tiny_job(algorithm_steps=6))

    def drive(until: int | None, pinned: tuple[int, ...]) -> None:
        functions = Functions(place.store)
        driver = Driver(place.resolved, place.manifest, place.store, functions, pinned=pinned)
        virtual_loop.run(driver.run_until(until))

    def stays() -> bool:
        return all(place.store.exists(key) for key in place.commit(2).objects(place.resolved.prefix))

    drive(2, ())
    drive(4, (2,))
    assert stays()
    drive(5, (2,))
    assert stays()
    other = make_place(tmp_path / "other", place.job)
    through(other, 2)
    drive(None, ())
    assert not stays()
    assert place.of_no_version() == []


def test_a_pinned_version_outlives_the_sweep_at_the_end(tmp_path: Path) -> None:
    place = make_place(tmp_path / "place", tiny_job(algorithm_steps=4))
    through(place, 2)
    driver = Driver(place.resolved, place.manifest, place.store, Functions(place.store), pinned=[2])
    virtual_loop.run(driver.run())
    assert all(place.store.exists(key) for key in place.commit(2).objects(place.resolved.prefix))
