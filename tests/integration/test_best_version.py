"""The best version, early stopping and targets of any metric, in whole jobs: late evaluations and dead drivers."""

import json
from typing import Any

import pytest
from helpers.jobs import Crash, Place, Places, Simulation, tiny_job
from helpers.tapped_store import Write

from sapflow.objects import keys
from sapflow.records.evaluations import metrics_of

# A learning rate at which the loss goes up and down.
RESTLESS: dict[str, Any] = {
    "algorithm_steps": 14, "evaluation_everySteps": 1, "optimizer": {"name": "SGD", "learningRate": 5.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


def metric_of_versions(place: Place, name: str) -> dict[int, float]:
    found = (name for name in place.listing() if name.startswith("evaluations/"))
    records = [json.loads(bytes(place.store.read(keys.job(place.uid) + each))) for each in found]
    return {body["version"]: metrics_of(body)[name] for body in records}


def late(simulation: Simulation, *versions: int) -> None:
    """Make these versions' evaluations end after all steps."""
    simulation.functions.delay = lambda request: (
        900.0 if request["op"] == "evaluate" and request["version"] in versions else 0.0
    )


def params(place: Place) -> set[int]:
    """Versions whose parameters are in the store."""
    found = (name for name in place.listing() if name.startswith("params/"))
    return {int(name.split("/")[1].partition("-")[0]) for name in found}


def test_the_best_evaluated_version_is_the_result_and_its_objects_stay(places: Places) -> None:
    place = places.place(tiny_job(**RESTLESS, evaluation_keepBest="loss"))
    outcome = Simulation(place).run()
    losses = metric_of_versions(place, "loss")
    best = min(losses, key=lambda version: (losses[version], version))
    assert best < 14, "the last version is the best: the job shows nothing"
    assert (outcome["version"], outcome["chosenBy"]) == (best, "Best")
    assert outcome["validationLoss"] == losses[best]
    assert outcome["targetReached"] is False
    assert params(place) == {best, 14}


def test_a_late_evaluation_changes_neither_the_best_nor_the_stop(places: Places) -> None:
    changes = {
        **RESTLESS,
        "evaluation_keepBest": "macroF1",
        "algorithm_earlyStopping": {"metric": "loss", "patience": 4},
    }
    job = tiny_job(**changes)
    undisturbed = places.place(job)
    wanted = Simulation(undisturbed).run()
    assert len(metric_of_versions(undisturbed, "loss")) < 14, "nothing was stopped"
    for version in (1, 2, wanted["version"]):
        place = places.place(job)
        simulation = Simulation(place)
        late(simulation, version)
        outcome = simulation.run()
        assert (outcome["version"], outcome["sha256"]) == (wanted["version"], wanted["sha256"])
        assert len(list(place.commits())) == 15, "all steps were made before the evaluation ended"


def test_early_stopping_gives_the_version_that_stopped_never_a_later_one(places: Places) -> None:
    job = tiny_job(**RESTLESS, algorithm_earlyStopping={"metric": "accuracy", "patience": 2})
    place = places.place(job)
    simulation = Simulation(place)
    late(simulation, 1)
    outcome = simulation.run()
    accuracies = metric_of_versions(place, "accuracy")
    best, waited = -1.0, 0
    for version in sorted(accuracies):
        waited = 0 if accuracies[version] > best else waited + 1
        best = max(best, accuracies[version])
        if waited == 2:
            break
    assert version < 14
    assert (outcome["version"], outcome["chosenBy"]) == (version, "EarlyStopping")


def test_any_metric_may_be_the_target(places: Places) -> None:
    free = places.place(tiny_job(algorithm_steps=12))
    Simulation(free).run()
    found = metric_of_versions(free, "macroF1")
    wanted = max(found[version] for version in found if version <= 8)
    first = next(version for version in sorted(found) if found[version] >= wanted)
    changes = {"algorithm_steps": 12, "algorithm_target": {"metric": "macroF1", "value": wanted}}
    outcome = Simulation(places.place(tiny_job(**changes))).run()
    assert (outcome["version"], outcome["chosenBy"], outcome["targetReached"]) == (first, "Target", True)


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_driver_that_dies_at_any_write_is_followed_by_one_that_chooses_the_same(
    places: Places, how: Any
) -> None:
    changes = {
        **RESTLESS,
        "evaluation_keepBest": "loss",
        "algorithm_earlyStopping": {"metric": "loss", "patience": 3},
    }
    job = tiny_job(**changes)
    writes: list[Write] = []
    undisturbed = places.place(job)
    wanted = Simulation(
        undisturbed, driver_failpoint=lambda write, after: None if after else writes.append(write)
    ).run()
    assert wanted["chosenBy"] == "Best"
    for number in range(0, len(writes), 3):
        place = places.place(job)
        outcome = Simulation(place, crashes=[Crash(number, how)]).run()
        assert (outcome["version"], outcome["sha256"]) == (wanted["version"], wanted["sha256"]), number
        assert wanted["version"] in params(place)
        assert len(params(place)) <= 2, f"{how} {writes[number]}"
        places.remove(place)
