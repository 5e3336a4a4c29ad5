"""Placed jobs: the same bits as elsewhere, bytes through the store as predicted, and volumes that are lost."""

import asyncio
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.functions import Fault, requests
from helpers.jobs import Crash, Place, Places, Simulation, tiny_job

from sapflow.client.session import open_session, train
from sapflow.driver.repeats import REPETITIONS
from sapflow.errors import InvocationError, JobFailed
from sapflow.objects.contribution import encode
from sapflow.planning import placement
from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Answered
from sapflow.steps.observer import Observer

pytestmark = pytest.mark.usefixtures("forked_functions")

AFFINITY = [
    {"from": "Worker", "to": "Merger", "weight": 100},
    {"from": "Merger", "to": "Root", "weight": 20},
]
PLACED: dict[str, Any] = {"affinity": AFFINITY, "placement": {"cells": 2}}
JOBS: dict[str, dict[str, Any]] = {
    "tree": {},
    "sharded, on warm workers": {
        "merge_shards": 2,
        "merge_reuseWorkers": True,
        "model_args": {"hidden": [32, 32]},
        "optimizer_name": "Adam",
    },
    "local steps under a time limit": {
        "algorithm_localSteps": 2,
        "algorithm_localState": "Average",
        "data_microBatchSize": 4,
        "algorithm_steps": 3,
    },
    "local steps, each rank with its own state": {
        "algorithm_localSteps": 2,
        "algorithm_localState": "Keep",
        "algorithm_steps": 3,
    },
}
HURRY = {"local steps under a time limit": 0.7}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


@pytest.fixture
def volumes(tmp_path: Path) -> list[Path]:
    return [tmp_path / "volume-0", tmp_path / "volume-1"]


def files(volumes: list[Path]) -> list[str]:
    """What lies on volumes."""
    found = (path for volume in volumes for path in volume.rglob("*") if path.is_file())
    return [str(path) for path in found if ".locks" not in path.parts]


def contributions(place: Place) -> list[str]:
    return [name for name in place.listing() if name.startswith("work/")]


@pytest.fixture(scope="module")
def undisturbed(places: Places) -> dict[str, str]:
    """The SHA-256 of each job's weights, not placed."""
    return {
        name: Simulation(places.place(tiny_job(**changes)), hurry=HURRY.get(name, 0.0)).run()["sha256"]
        for name, changes in JOBS.items()
    }


@pytest.mark.parametrize("name", JOBS)
def test_a_placed_job_ends_with_the_weights_of_one_that_is_not(
    name: str, places: Places, undisturbed: dict[str, str], volumes: list[Path]
) -> None:
    place = places.place(tiny_job(**JOBS[name], **PLACED))
    simulation = Simulation(place, hurry=HURRY.get(name, 0.0), volumes=volumes)
    assert simulation.run()["sha256"] == undisturbed[name]
    assert contributions(place) == []
    inside = [
        child["key"]
        for each in (
            *requests(simulation.functions.log, "merge"),
            *requests(simulation.functions.log, "root"),
        )
        for child in each["children"]
        if child["channel"] == "cell"
    ]
    assert inside, "no contribution stayed in a cell"


def test_volumes_do_not_fill_up(places: Places, volumes: list[Path]) -> None:
    """Whatever is left is of the last steps: nobody calls a cell once the job is done."""
    long = tiny_job(algorithm_steps=25, **PLACED)
    Simulation(places.place(long), volumes=volumes).run()
    nodes = 4 + 2 + 1
    assert len(files(volumes)) <= 3 * nodes


@pytest.mark.parametrize("seed", range(6))
def test_faults_and_crashes_of_the_driver_change_nothing_for_a_placed_job(
    seed: int, places: Places, undisturbed: dict[str, str], volumes: list[Path]
) -> None:
    faults = {
        5 + seed: Fault("lose"),
        9 + seed: Fault("twice"),
        14 + seed: Fault("late", seconds=20.0),
        17 + 2 * seed: Fault("refuse"),
        21 + seed: Fault("interleave"),
    }
    crashes = [Crash(6 + seed, "before"), Crash(11 + seed, "after")]
    place = places.place(tiny_job(**PLACED))
    simulation = Simulation(place, faults=faults, crashes=crashes, volumes=volumes, seed=seed)
    assert simulation.run()["sha256"] == undisturbed["tree"]


def test_two_drivers_at_once_are_harmless_to_a_placed_job(
    places: Places, undisturbed: dict[str, str], volumes: list[Path]
) -> None:
    simulation = Simulation(places.place(tiny_job(**PLACED)), drivers=2, volumes=volumes, seed=4)
    assert simulation.run()["sha256"] == undisturbed["tree"]


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("cell", [0, 1])
def test_a_volume_that_is_lost_at_any_call_costs_no_more_than_the_step_in_flight(
    name: str, cell: int, places: Places, undisturbed: dict[str, str], volumes: list[Path]
) -> None:
    """Before each call in turn of a middle step, the volume of a cell is emptied; and once more later."""
    job = tiny_job(**JOBS[name], **PLACED)
    for lost in range(12):
        place = places.place(job)
        simulation = Simulation(place, hurry=HURRY.get(name, 0.0), volumes=volumes, seed=lost)
        calls = 0

        def delay(request: Any, lost: int = lost) -> float:
            nonlocal calls
            if request["version"] >= 2 and request["op"] in ("train", "merge", "root"):
                if calls in (lost, lost + 9):
                    shutil.rmtree(volumes[cell], ignore_errors=True)
                calls += 1
            return 0.0

        simulation.functions.delay = delay
        assert simulation.run()["sha256"] == undisturbed[name], f"lost before call {lost}"
        assert len(list(place.commits())) == job.spec.algorithm.steps + 1  # type: ignore[operator]
        places.remove(place)
        for volume in volumes:
            shutil.rmtree(volume, ignore_errors=True)


@pytest.mark.parametrize("part", ["/work/", "/params/"])
def test_what_is_torn_on_a_volume_is_made_anew_with_the_same_weights(
    part: str, places: Places, undisturbed: dict[str, str], volumes: list[Path]
) -> None:
    """Before a merge of step 2, and before its workers, every object of a kind on the volumes loses its bytes."""
    place = places.place(tiny_job(**PLACED))
    simulation = Simulation(place, volumes=volumes)
    op, torn = {"/work/": "merge", "/params/": "train"}[part], 0

    def tear(request: Any) -> float:
        nonlocal torn
        if request["op"] == op and request["version"] == 2 and not torn:
            for volume in volumes:
                for file in volume.rglob("*"):
                    if file.is_file() and part in str(file):
                        file.write_bytes(b"")
                        torn += 1
            simulation.functions.end_instances()
        return 0.0

    simulation.functions.delay = tear
    assert simulation.run()["sha256"] == undisturbed["tree"]
    assert torn
    assert any((each.measured.remade or {}).get("CellLost") for each in place.commits())


def test_a_volume_that_keeps_nothing_fails_the_job_with_what_was_lost(
    places: Places, volumes: list[Path]
) -> None:
    def empty(request: Mapping[str, Any]) -> float:
        if request["op"] == "merge":
            for volume in volumes:
                shutil.rmtree(volume, ignore_errors=True)
        return 0.0

    place = places.place(tiny_job(**PLACED))
    simulation = Simulation(place, volumes=volumes)
    simulation.functions.delay = empty
    with pytest.raises(JobFailed) as caught:
        simulation.run()
    assert caught.value.reason == "CellLost"
    trained = [each for each in requests(simulation.functions.log, "merge") if each["version"] == 1]
    assert len(trained) > REPETITIONS["CellLost"]


# --- real processes ---


class Watch(Observer):
    """Does something at each answer; keeps failures."""

    def __init__(self) -> None:
        self.runtime: Any = None
        self.at_answer: Callable[[str], None] = lambda op: None
        self.failures: list[InvocationError] = []
        self.cells: set[tuple[Role, int]] = set()

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        self.at_answer(op)

    def invocation_failed(self, role: Role, op: str, error: InvocationError) -> None:
        self.failures.append(error)

    def on_runtime(self, runtime: Any) -> None:
        self.runtime = runtime


def run_for_real(place: Place, watch: Watch) -> dict[str, Any]:
    with open_session(place.job, os.environ, store=place.path.as_uri()) as session:
        work = train(
            session,
            place.manifest,
            os.environ,
            max_instances=2,
            observer=watch,
            on_runtime=watch.on_runtime,
        )
        return asyncio.run(work)


def vector_bytes(place: Place) -> dict[str, int]:
    """Bytes of the objects of each kind, from the sizes that commit 0 names."""
    import numpy as np

    sizes = place.commit(0).sizes
    whole = sum(len(part) for part in encode(np.zeros(sizes.total, np.float32), {"weight": "8"}))
    return {"total": whole, "state": 4 * sizes.parameters * len(place.commit(0).slots)}


@pytest.mark.slow
def test_processes_in_cells_pass_the_predicted_bytes_through_the_store_and_end_with_the_same_weights(
    places: Places, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    job = tiny_job(model_args={"hidden": [200, 200]}, algorithm_steps=8, **PLACED)
    place = places.place(job)
    watch = Watch()
    outcome = run_for_real(place, watch)
    plain = places.place(tiny_job(model_args={"hidden": [200, 200]}, algorithm_steps=8))
    assert outcome["sha256"] == run_for_real(plain, Watch())["sha256"]
    assert len(watch.runtime.cell_folders) == 2
    assert not any(folder.exists() for folder in watch.runtime.cell_folders), "left behind"

    placed = placement.of(job)
    assert placed is not None
    size = vector_bytes(place)
    predicted = placed.traffic(size["total"], size["total"], size["state"])
    for commit in list(place.commits())[4:]:
        measured = commit.measured
        assert measured.store_read is not None
        assert measured.store_written is not None
        # Data blocks, and the names in headers, are a few KiB.
        assert predicted.read <= measured.store_read <= predicted.read + 20_000
        assert abs(measured.store_written - predicted.written) <= 2_000


@pytest.mark.slow
def test_a_cells_folder_that_is_lost_under_processes_costs_a_step(
    places: Places, undisturbed: dict[str, str]
) -> None:
    place = places.place(tiny_job(**PLACED))
    watch = Watch()
    seen = 0

    def lose(op: str) -> None:
        nonlocal seen
        seen += op == "train"
        if op == "train" and seen == 7:
            for folder in watch.runtime.cell_folders:
                # Whole: functions write there meanwhile.
                shutil.rmtree(folder.rename(folder.with_suffix(".lost")), ignore_errors=True)

    watch.at_answer = lose
    assert run_for_real(place, watch)["sha256"] == undisturbed["tree"]
    assert {failure.reason for failure in watch.failures} == {"CellLost"}
