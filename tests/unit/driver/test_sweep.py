"""The sweep at the end of a job: what nobody knew of goes, and what the job stands on stays."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from helpers.jobs import Place, Places, Simulation, tiny_job

from sapflow.driver.sweep import checkpoint_versions, sweep_failed, sweep_up
from sapflow.errors import JobFailed, StoreError
from sapflow.objects import keys
from sapflow.spec.training_job import CheckpointSpec


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def left_by_others(place: Place) -> list[str]:
    """Objects of which no driver knows: of a straggler, a hedge that lost, a slow second driver, a failed removal."""
    prefix = keys.job(place.uid)
    contribution = keys.contribution(prefix, 2, "id", 0, 0, 0)
    names = [
        contribution,
        keys.cursor(contribution, 3),
        keys.cursor(keys.async_contribution(prefix, 0, 1, 1, 0), 2),
        keys.params(prefix, 3, "lost", 0),
        keys.optimizer(prefix, 3, "lost", 0),
        keys.rank_state(prefix, 3, "lost", 0),
        keys.checkpoint(prefix, 1),
    ]
    for name in names:
        place.store.create(name, b"x")
    return names


def test_what_no_driver_knew_of_goes_and_the_rest_stays(places: Places) -> None:
    place = places.place(tiny_job(checkpoint_everySteps=2, checkpoint_keep=2))
    Simulation(place).run()
    before = place.listing()
    left_by_others(place)
    asyncio.run(sweep_up(place.resolved, place.store))
    assert place.listing() == before
    assert any(name.startswith("checkpoints/") for name in before)


def test_a_sweep_that_knows_an_older_commit_keeps_what_the_newest_stands_on(places: Places) -> None:
    place = places.place(tiny_job())
    outcome = Simulation(place).run()
    before = place.listing()
    left_by_others(place)
    for version in (0, 1):
        known = place.commit(version)
        asyncio.run(sweep_up(place.resolved, place.store, outcome=outcome, known=known))
        assert place.listing() == before


def test_a_job_that_is_not_finished_keeps_everything(places: Places) -> None:
    place = places.place(tiny_job())
    Simulation(place).run()
    place.store.delete([keys.result(keys.job(place.uid), "outcome.json")])
    names = left_by_others(place)
    asyncio.run(sweep_up(place.resolved, place.store))
    assert all(place.store.exists(name) for name in names)


def test_a_driver_that_finds_the_job_finished_sweeps_too(places: Places) -> None:
    place = places.place(tiny_job())
    Simulation(place).run()
    before = place.listing()
    left_by_others(place)
    Simulation(place).run()
    assert place.listing() == before


@pytest.mark.parametrize(
    "job",
    [
        {"checkpoint_everySteps": 2, "optimizer_learningRate": 1e30},
        {"limits_budgetUSD": 1e-5},
        {"limits_budgetUSD": 1e-5, "algorithm_mode": "Async", "merge": None},
    ],
    ids=["diverged", "budget", "asynchronous"],
)
def test_a_failed_job_leaves_no_contribution_and_what_it_may_go_on_from(
    places: Places, job: dict[str, Any]
) -> None:
    place = places.place(tiny_job(**job))
    with pytest.raises(JobFailed):
        Simulation(place).run()
    last = max(commit.version for commit in place.commits())
    prefix = keys.job(place.uid)
    newer = keys.params(prefix, last + 1, "of-another-driver", 0)
    place.store.create(newer, b"x")
    contribution = keys.contribution(prefix, last + 1, "id", 0, 0, 0)
    place.store.create(contribution, b"x")
    asyncio.run(sweep_failed(place.resolved, place.store))
    assert not [name for name in place.listing() if name.startswith("work/")]
    assert place.store.exists(newer)
    assert all(place.store.exists(key) for key in place.commit(last).objects(prefix))


def test_a_failed_job_that_was_swept_goes_on_to_the_bits_of_one_that_did_not_fail(places: Places) -> None:
    calm, place = places.place(tiny_job()), places.place(tiny_job())
    expected = Simulation(calm).run()["sha256"]
    poor = replace(place, job=tiny_job(limits_budgetUSD=1e-5))
    with pytest.raises(JobFailed):
        Simulation(poor).run()
    asyncio.run(sweep_failed(poor.resolved, place.store))
    assert Simulation(place).run()["sha256"] == expected


def test_a_store_that_removes_nothing_is_logged_and_fails_no_job(
    places: Places, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = places.place(tiny_job())
    Simulation(place).run()
    left_by_others(place)

    def refuse(names: Iterable[str]) -> None:
        raise StoreError("permission denied")

    monkeypatch.setattr(place.store, "delete", refuse)
    with caplog.at_level(logging.WARNING):
        asyncio.run(sweep_up(place.resolved, place.store))
    assert "permission denied" in caplog.text


@pytest.mark.parametrize(
    ("every", "keep", "newest", "versions"),
    [(None, 2, 9, []), (2, 2, 9, [6, 8]), (2, 2, 8, [6, 8]), (2, 3, 3, [2]), (5, 1, 4, []), (1, 2, 1, [1])],
)
def test_the_newest_multiples_are_checkpoints(
    every: int | None, keep: int, newest: int, versions: list[int]
) -> None:
    assert checkpoint_versions(CheckpointSpec(every_steps=every, keep=keep), newest) == versions
