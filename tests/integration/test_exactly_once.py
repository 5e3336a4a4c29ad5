"""Whatever dies, repeats or is late: the job completes with the weights of an undisturbed run, bit for bit."""

import hashlib
from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers.jobs import Place, Places, Simulation, tiny_job
from helpers.schedules import SCHEDULES, THOROUGH, Schedule
from helpers.tapped_store import Write
from hypothesis import given, settings

from sapflow.objects import contribution

VARIANTS: dict[str, dict[str, Any]] = {
    "tree": {},
    "flat": {"merge_structure": [1, 4]},
    "versions inside answers and requests": {"merge_structure": [1, 4], "merge_channel": "Inline"},
    "deep": {"merge_structure": [1, 2, 3, 5], "workers": 5, "optimizer_name": "Adam", "algorithm_steps": 4},
    "two shards": {
        "merge_shards": 2,
        "model_args": {"hidden": [32, 32]},
        "optimizer_clipNorm": 0.5,
        "algorithm_steps": 4,
    },
    "three shards, reused workers": {
        "merge_shards": 3,
        "merge_reuseWorkers": True,
        "model_args": {"hidden": [48, 48]},
        "workers": 3,
        "merge_structure": [1, 2, 3],
        "optimizer_name": "Adam",
        "algorithm_steps": 3,
    },
    "reused workers, micro-batches": {"merge_reuseWorkers": True, "data_microBatchSize": 3},
    "batch norm and dropout": {
        "model_args": {"hidden": [8], "batchNorm": True, "dropout": 0.3},
        "data_microBatchSize": 4,
    },
    "local steps": {
        "algorithm_localSteps": 2,
        "algorithm_localState": "Average",
        "data_microBatchSize": 5,
        "algorithm_steps": 4,
    },
    "local steps, reset, batch norm": {
        "algorithm_localSteps": 2,
        "model_args": {"hidden": [8], "batchNorm": True},
        "algorithm_steps": 4,
    },
    "local steps, each rank with its own state": {
        "algorithm_localSteps": 2,
        "algorithm_localState": "Keep",
        "optimizer_name": "Adam",
        "data_microBatchSize": 5,
        "algorithm_steps": 4,
        "checkpoint_everySteps": 2,
    },
    "groups, and a rate that waits for evaluations": {
        "merge_shards": 2,
        "model_args": {"hidden": [32, 32]},
        "optimizer": {
            "name": "RMSprop",
            "learningRate": 0.02,
            "weightDecay": 0.1,
            "groups": [{"match": ["*.bias"], "weightDecay": 0}],
            "schedule": {"name": "Plateau", "metric": "ValidationLoss", "patience": 0, "threshold": 0.5},
        },
    },
    "checkpoints and a target": {
        "checkpoint_everySteps": 2,
        "evaluation_everySteps": 1,
        "algorithm_targetAccuracy": 0.6,
        "algorithm_steps": 6,
    },
}


REMOTE = {"versions inside answers and requests"}
"""Variants whose driver's store is far away."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


@cache
def undisturbed(places: Places, variant: str) -> str:
    """The SHA-256 of the weights where nothing goes wrong."""
    place = places.place(tiny_job(**VARIANTS[variant]))
    return str(Simulation(place).run()["sha256"])


def disturbed(place: Place, schedule: Schedule, *, remote: bool) -> Simulation:
    return Simulation(
        place,
        schedule.faults,
        schedule.crashes,
        drivers=schedule.drivers,
        hurry=schedule.hurry,
        seed=schedule.seed,
        remote=remote,
    )


@pytest.mark.parametrize("variant", VARIANTS)
@settings(THOROUGH, max_examples=25)
@given(schedule=SCHEDULES)
def test_any_schedule_of_faults_ends_in_the_undisturbed_weights(
    places: Places, variant: str, schedule: Schedule
) -> None:
    place = places.place(tiny_job(**VARIANTS[variant]))
    try:
        outcome = disturbed(place, schedule, remote=variant in REMOTE).run()
        assert outcome["sha256"] == undisturbed(places, variant)
        assert hashlib.sha256(place.result()).hexdigest() == outcome["sha256"]
        assert place.of_no_version() == []
    finally:
        places.remove(place)


def test_a_version_that_another_driver_has_written_with_other_bytes_is_the_one_that_counts(
    places: Places,
) -> None:
    job = tiny_job(**VARIANTS["versions inside answers and requests"])
    undisturbed = Simulation(places.place(job)).run()["sha256"]
    ends = set()
    for remote in (True, False):
        place = places.place(job)
        planted: list[str] = []

        def write_before(
            write: Write, after: bool, place: Place = place, planted: list[str] = planted
        ) -> None:
            if not after and "/params/2-" in write.key and write.kind == "create" and not planted:
                begun = place.commit(1).params[0]
                vector = np.empty(begun.stop - begun.start, np.float32)
                metadata = contribution.read_vector(place.store, begun.key, vector)
                vector += np.float32(0.25)
                place.store.create(write.key, contribution.encode(vector, metadata))
                planted.append(hashlib.sha256(place.store.read(write.key)).hexdigest())

        simulation = Simulation(
            place, remote=remote, function_failpoint=write_before, driver_failpoint=write_before
        )
        ends.add(simulation.run()["sha256"])
        second = place.commit(2)
        assert [second.digests[part.key] for part in second.params] == planted
        assert place.of_no_version() == []
    assert len(ends) == 1, "whoever writes: what stands in the store counts for all that follows"
    assert undisturbed not in ends
