"""Asynchronous mode: whatever happens, commits account for every contribution once, and weights follow from them."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.functions import requests
from helpers.jobs import Place, Places, Simulation, tiny_job
from helpers.reference import Reference, mean_loss
from helpers.schedules import SCHEDULES, THOROUGH, Schedule
from hypothesis import given, settings

from sapflow.records.commits import Commit
from sapflow.spec.training_job import TrainingJob

WORKERS = 3
STALENESS = {"none": 0, "one": 1, "workers": WORKERS, "left out": None}


def job(staleness: int | None, **changes: Any) -> TrainingJob:
    return tiny_job(
        **{
            "workers": WORKERS,
            "merge_structure": [1, WORKERS],
            "algorithm_mode": "Async",
            "algorithm_maxStaleness": staleness,
            "algorithm_steps": 5,
            "optimizer_learningRate": 0.05,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def assert_every_contribution_once(place: Place) -> None:
    """Commits apply contributions 0, 1, 2 … of each rank, none twice, none left out, none too stale."""
    spec = place.job.spec
    limit = spec.algorithm.max_staleness
    limit = spec.workers if limit is None else limit
    counters = [0] * spec.workers
    for commit in place.commits():
        for one in commit.applied:
            assert one.count == counters[one.rank]
            assert 0 <= commit.version - 1 - one.base <= limit
            counters[one.rank] += 1
        assert commit.counters == counters
    assert counters == [spec.algorithm.steps] * spec.workers


def assert_weights_follow_from_commits(place: Place) -> None:
    """The result is what plain torch comes to that does what the commits say, one contribution after the other."""
    reference = Reference(place)
    module = reference.model()
    optimizer = reference.optimizer(module)
    versions = {0: copy.deepcopy(module)}
    spec = place.job.spec
    slices = list(reference.steps(spec.algorithm.steps or 0, spec.workers * spec.data.batch_size))
    for commit in list(place.commits())[1:]:
        for one in commit.applied:
            epoch, begin, end = slices[one.count]
            count = end - begin
            features, targets = reference.samples(
                epoch,
                begin + one.rank * count // spec.workers,
                begin + (one.rank + 1) * count // spec.workers,
            )
            base = versions[one.base]
            base.zero_grad()
            mean_loss(base(features), targets).backward()
            for parameter, computed in zip(module.parameters(), base.parameters(), strict=True):
                parameter.grad = computed.grad
            optimizer.step()
        versions[commit.version] = copy.deepcopy(module)
    reference.assert_equal(module)


@pytest.mark.parametrize("staleness", STALENESS.values(), ids=STALENESS.keys())
@settings(THOROUGH, max_examples=30)
@given(schedule=SCHEDULES)
def test_any_schedule_of_faults_leaves_a_true_account(
    places: Places, staleness: int | None, schedule: Schedule
) -> None:
    place = places.place(job(staleness))
    try:
        Simulation(
            place,
            schedule.faults,
            schedule.crashes,
            drivers=schedule.drivers,
            hurry=schedule.hurry,
            seed=schedule.seed,
        ).run()
        assert_every_contribution_once(place)
        assert_weights_follow_from_commits(place)
        assert place.of_no_version() == []
    finally:
        places.remove(place)


@pytest.mark.parametrize("staleness", STALENESS.values(), ids=STALENESS.keys())
def test_an_undisturbed_run_leaves_records_result_and_last_version_only(
    places: Places, staleness: int | None
) -> None:
    place = places.place(job(staleness))
    outcome = Simulation(place).run()
    left = [name for name in place.listing() if name.startswith(("work", "params", "optimizer"))]
    assert [name.partition("-")[0] for name in left] == [
        f"optimizer/{outcome['version']}",
        f"params/{outcome['version']}",
    ]
    assert_every_contribution_once(place)
    assert_weights_follow_from_commits(place)


def test_two_drivers_at_once_leave_no_version_of_the_one_that_lost(places: Places) -> None:
    for seed in range(12):
        place = places.place(job(1))
        outcome = Simulation(place, drivers=2, seed=seed).run()
        left = [name for name in place.listing() if name.startswith(("params", "optimizer"))]
        assert [name.partition("-")[0] for name in left] == [
            f"optimizer/{outcome['version']}",
            f"params/{outcome['version']}",
        ]
        assert_every_contribution_once(place)


def test_without_staleness_all_ranks_compute_on_the_same_version(places: Places) -> None:
    place = places.place(job(0))
    Simulation(place).run()
    for commit in list(place.commits())[1:]:
        assert [one.base for one in commit.applied] == [commit.version - 1] * WORKERS


def test_with_staleness_a_slow_rank_does_not_hold_up_the_others(places: Places) -> None:
    place = places.place(job(WORKERS))
    simulation = Simulation(place, seed=1)
    simulation.run()
    stale = [commit.version - 1 - one.base for commit in place.commits() for one in commit.applied]
    assert max(stale) > 0


def test_ranks_without_samples_in_an_epochs_last_step_are_passed_over(places: Places) -> None:
    """120 samples, 7 workers × 17: one sample is left for the second step of each epoch."""
    place = places.place(job(2, workers=7, merge_structure=[1, 7], data_batchSize=17, algorithm_steps=4))
    simulation = Simulation(place)
    simulation.run()
    trained = requests(simulation.functions.log, "train")
    assert all(piece["end"] > piece["begin"] for request in trained for piece in request["slices"])
    assert _samples_used(place.commits(), simulation, epochs=2) == [1] * 240


def _samples_used(commits: Iterator[Commit], simulation: Simulation, *, epochs: int) -> list[int]:
    """How often each position of each epoch was applied."""
    ranges = {
        (request["rank"], request["version"]): (request["epoch"], request["slices"][0])
        for request in requests(simulation.functions.log, "train")
    }
    used = [0] * (120 * epochs)
    for commit in commits:
        for one in commit.applied:
            epoch, piece = ranges[one.rank, one.count]
            for place in range(piece["begin"], piece["end"]):
                used[120 * epoch + piece["range"][0] + place] += 1
    return used


def test_a_contribution_that_is_not_finite_is_left_out_and_accounted_for(places: Places) -> None:
    place = places.place(
        job(1, optimizer_learningRate=1e30, algorithm_onNaN="Skip", limits_skippedSteps=1000)
    )
    Simulation(place).run()
    assert_every_contribution_once(place)
    assert any(one.skipped for commit in place.commits() for one in commit.applied)
    assert all(
        bool(torch.isfinite(torch.from_numpy(value)).all()) for value in Reference(place).result().values()
    )
