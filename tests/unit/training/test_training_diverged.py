"""What is not finite is never written: neither in one shard, nor by the last update, nor by one of several."""

from typing import Any

import numpy as np
import pytest
from helpers.jobs import Place, Places, Simulation, tiny_job

from sapflow.errors import JobFailed
from sapflow.objects import contribution, keys
from sapflow.records.commits import Commit

HUGE = 1e40
"""A learning rate with which an update by a finite gradient overflows."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def failed(places: Places, **changes: Any) -> tuple[JobFailed, Place]:
    place = places.place(tiny_job(**changes))
    with pytest.raises(JobFailed) as caught:
        Simulation(place).run()
    return caught.value, place


def weights(place: Place, commit: Commit) -> np.ndarray:
    vector = np.empty(commit.sizes.with_frozen, np.float32)
    contribution.read_range(place.store, commit.params, 0, len(vector), vector)
    return vector


OVERFLOWS: dict[str, dict[str, Any]] = {
    "one shard": {},
    "asynchronous": {"algorithm_mode": "Async", "merge_structure": None},
    "local steps": {"algorithm_localSteps": 2},
    "local steps with averaged state": {"algorithm_localSteps": 2, "algorithm_localState": "Average"},
}


@pytest.mark.parametrize("changes", OVERFLOWS.values(), ids=OVERFLOWS.keys())
def test_an_update_that_overflows_in_the_last_step_fails_the_job(
    places: Places, changes: dict[str, Any]
) -> None:
    given = {"optimizer_name": "SGD", "optimizer_learningRate": HUGE, "algorithm_steps": 1, **changes}
    error, place = failed(places, model_args={"hidden": [8]}, **given)
    assert error.reason == "NotFinite"
    assert "version 0 is the last good checkpoint" in str(error)
    assert np.isfinite(weights(place, place.commit(0))).all()
    assert not [name for name in place.listing() if name.startswith("result")]


def one_shard_overflows(which: str) -> dict[str, Any]:
    """The update of one of two shards overflows: the learning rate of its tensors is so high."""
    return {
        "model_args": {"hidden": [48, 48]},
        "merge_shards": 2,
        "optimizer_name": "SGD",
        "optimizer_learningRate": HUGE / 1e6,
        "optimizer_groups": [
            {"match": [which], "learningRateFactor": 1_000_000},
            {"match": ["*"], "learningRateFactor": 0},
        ],
        "algorithm_steps": 2,
    }


def names(places: Places) -> list[str]:
    place = places.place(tiny_job(model_args={"hidden": [48, 48]}, algorithm_steps=1))
    Simulation(place).run()
    layout = place.commit(0).layout
    return [str(entry["name"]) for entry in sorted(layout, key=lambda entry: entry["offset"])]


@pytest.mark.parametrize("which", [0, -1])
def test_a_step_counts_only_if_the_updates_of_all_shards_are_finite(places: Places, which: int) -> None:
    changes = one_shard_overflows(names(places)[which])
    error, place = failed(places, **changes)
    assert (error.reason, error.version) == ("NotFinite", 0)
    assert not place.store.exists(keys.commit(keys.job(place.uid), 1))


@pytest.mark.parametrize("which", [0, -1])
def test_of_a_skipped_step_nothing_is_left_whichever_shard_was_written(places: Places, which: int) -> None:
    changes = one_shard_overflows(names(places)[which])
    error, place = failed(places, **{**changes, "algorithm_onNaN": "Skip", "algorithm_steps": 20})
    assert error.reason == "TooManySkipped"
    assert "3 steps were not finite and left out, more than the 2 of spec.limits.skippedSteps" in str(error)
    last = list(place.commits())[-1]
    assert (last.version, last.skips, last.updates) == (2, 2, 0)
    written = [name for name in place.listing() if name.startswith(("params", "optimizer"))]
    # Step 3, at which the job has failed, may have left its own.
    assert not [name for name in written if "/1-" in name or "/2-" in name]


def test_a_job_that_may_skip_all_its_steps_and_does_fails(places: Places) -> None:
    changes: dict[str, Any] = {
        "optimizer_name": "SGD",
        "optimizer_learningRate": HUGE,
        "algorithm_onNaN": "Skip",
        "algorithm_steps": 3,
        "limits_skippedSteps": 3,
    }
    error, place = failed(places, **changes)
    assert error.reason == "TooManySkipped"
    assert "which is all" in str(error)
    assert not [name for name in place.listing() if name.startswith("result")]


def test_a_higher_limit_goes_on_where_the_job_stood(places: Places) -> None:
    changes: dict[str, Any] = {
        "model_name": None,
        "model_entrypoint": "helpers.models:brittle",
        "model_args": {"limit": 2.3},
        "algorithm_onNaN": "Skip",
        "algorithm_steps": 8,
        "data_batchSize": 2,
    }
    whole = places.place(tiny_job(**changes, limits_skippedSteps=8))
    outcome = Simulation(whole).run()
    skipped = outcome["skippedSteps"]
    assert skipped >= 1
    error, place = failed(places, **changes, limits_skippedSteps=skipped - 1)
    assert error.reason == "TooManySkipped"
    raised = Place(
        tiny_job(**changes, limits_skippedSteps=skipped), place.uid, place.manifest, place.store, place.path
    )
    assert Simulation(raised).run()["sha256"] == outcome["sha256"]
