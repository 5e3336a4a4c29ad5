"""Every write of a job in turn is the last thing that its process does: before it, and right after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from helpers.functions import Fault
from helpers.jobs import Crash, Places, Simulation, tiny_job
from helpers.tapped_store import Killed, Write

from sapflow.spec.training_job import TrainingJob

JOBS: dict[str, dict[str, Any]] = {
    "sharded tree": {
        "merge_shards": 2,
        "model_args": {"hidden": [32, 32]},
        "optimizer_name": "Adam",
        "optimizer_clipNorm": 0.5,
        "algorithm_steps": 2,
        "checkpoint_everySteps": 1,
        "checkpoint_keep": 1,
    },
    "local steps under a time limit": {
        "algorithm_localSteps": 2,
        "algorithm_localState": "Average",
        "data_microBatchSize": 4,
        "algorithm_steps": 2,
    },
    "ranks with states of their own": {
        "workers": 3,
        "merge_structure": [1, 3],
        "algorithm_localSteps": 3,
        "algorithm_localState": "Keep",
        "algorithm_steps": 3,
        "checkpoint_everySteps": 1,
        "checkpoint_keep": 1,
    },
    "versions inside answers and requests": {
        "merge_channel": "Inline",
        "merge_structure": [1, 4],
        "optimizer_name": "Adam",
        "algorithm_steps": 4,
        "checkpoint_everySteps": 2,
        "checkpoint_keep": 1,
    },
}
HURRY = {"local steps under a time limit": 1.0}
REMOTE = {"versions inside answers and requests"}
"""Jobs whose driver's store is far away."""


@dataclass(frozen=True)
class Undisturbed:
    """What an undisturbed run of a job did and left."""

    job: TrainingJob
    hurry: float
    remote: bool
    sha256: str
    listing: list[str]
    writes: dict[str, list[Write]]
    """By who wrote: functions or driver."""
    function_writes: list[int]
    """Writes of each invocation, in order."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("jobs"))


@pytest.fixture(scope="module", params=list(JOBS))
def undisturbed(request: pytest.FixtureRequest, places: Places) -> Undisturbed:
    job, hurry, remote = (
        tiny_job(**JOBS[request.param]),
        HURRY.get(request.param, 0.0),
        request.param in REMOTE,
    )
    place = places.place(job)
    writes: dict[str, list[Write]] = {"functions": [], "driver": []}
    simulation = Simulation(
        place,
        hurry=hurry,
        remote=remote,
        function_failpoint=lambda write, after: None if after else writes["functions"].append(write),
        driver_failpoint=lambda write, after: None if after else writes["driver"].append(write),
    )
    outcome = simulation.run()
    return Undisturbed(
        job, hurry, remote, outcome["sha256"], place.listing(), writes, simulation.functions.writes_of_each
    )


def test_a_finished_job_keeps_its_records_its_result_and_its_last_version_only(
    undisturbed: Undisturbed,
) -> None:
    kinds = {name.partition("/")[0] for name in undisturbed.listing}
    assert kinds <= {
        "spec.json", "plans", "commits", "evaluations", "checkpoints", "params", "optimizer", "state", "result",
    }  # fmt: skip
    steps = undisturbed.job.spec.algorithm.steps
    for kind in ("params", "optimizer"):
        versions = {
            name.split("/")[1].partition("-")[0] for name in undisturbed.listing if name.startswith(kind)
        }
        assert versions <= {str(steps)}


@pytest.mark.parametrize("how", ["before", "after", "cancel"])
def test_a_driver_that_ends_at_any_write_or_removal_is_followed_by_one_that_ends_the_same(
    places: Places, undisturbed: Undisturbed, how: Literal["before", "after", "cancel"]
) -> None:
    for number, write in enumerate(undisturbed.writes["driver"]):
        place = places.place(undisturbed.job)
        outcome = Simulation(
            place, crashes=[Crash(number, how)], hurry=undisturbed.hurry, remote=undisturbed.remote
        ).run()
        assert outcome["sha256"] == undisturbed.sha256, f"{how} {write}"
        assert place.listing() == undisturbed.listing, f"{how} {write}"
        places.remove(place)


@pytest.mark.parametrize("after", [False, True])
def test_a_function_that_dies_at_any_write_is_followed_by_one_that_writes_the_same(
    places: Places, undisturbed: Undisturbed, after: bool
) -> None:
    for invocation, write in _points(undisturbed.function_writes):
        place = places.place(undisturbed.job)
        faults = {invocation: Fault("kill", write=write, after=after)}
        outcome = Simulation(place, faults, hurry=undisturbed.hurry, remote=undisturbed.remote).run()
        assert outcome["sha256"] == undisturbed.sha256, f"invocation {invocation}, write {write}"
        assert place.listing() == undisturbed.listing, f"invocation {invocation}, write {write}"
        places.remove(place)


def test_a_second_instance_that_does_the_same_work_in_the_middle_of_a_write_changes_nothing(
    places: Places, undisturbed: Undisturbed
) -> None:
    for invocation, write in _points(undisturbed.function_writes):
        place = places.place(undisturbed.job)
        faults = {invocation: Fault("interleave", write=write)}
        outcome = Simulation(place, faults, hurry=undisturbed.hurry, remote=undisturbed.remote).run()
        assert outcome["sha256"] == undisturbed.sha256, f"invocation {invocation}, write {write}"
        assert place.listing() == undisturbed.listing, f"invocation {invocation}, write {write}"
        places.remove(place)


def test_driver_and_functions_that_die_together_at_any_write_lose_nothing(
    places: Places, undisturbed: Undisturbed
) -> None:
    for number, write in enumerate(undisturbed.writes["driver"]):
        place = places.place(undisturbed.job)
        simulation = Simulation(
            place, crashes=[Crash(number, "after")], hurry=undisturbed.hurry, remote=undisturbed.remote
        )
        simulation.on_crash = simulation.functions.end_instances
        assert simulation.run()["sha256"] == undisturbed.sha256, f"{write}"
        assert place.listing() == undisturbed.listing, f"{write}"
        places.remove(place)


def _points(writes: list[int]) -> Iterator[tuple[int, int]]:
    return ((invocation, write) for invocation, count in enumerate(writes) for write in range(count))


def test_a_remote_store_changes_who_writes_versions_and_not_what_stands_there(
    places: Places, undisturbed: Undisturbed
) -> None:
    place = places.place(undisturbed.job)
    writers: dict[str, set[str]] = {"functions": set(), "driver": set()}

    def note(who: str, write: Write) -> None:
        kind = write.key.split("/")[2]
        if (
            write.kind == "create"
            and kind in ("params", "optimizer")
            and not write.key.split("/")[3].startswith("0-")
        ):
            writers[who].add(kind)

    outcome = Simulation(
        place,
        hurry=undisturbed.hurry,
        remote=not undisturbed.remote,
        function_failpoint=lambda write, after: note("functions", write),
        driver_failpoint=lambda write, after: note("driver", write),
    ).run()
    assert outcome["sha256"] == undisturbed.sha256
    assert place.listing() == undisturbed.listing
    versions = {kind for name in place.listing() if (kind := name.split("/")[0]) in ("params", "optimizer")}
    small = undisturbed.job.spec.merge.channel == "Inline"
    assert writers == {"functions": versions, "driver": set()}
    seen = {write.key.split("/")[2] for write in undisturbed.writes["driver"] if write.kind == "create"}
    assert versions <= seen if small else not versions & seen


@pytest.mark.parametrize("version", [1, 2])
def test_cursors_of_a_driver_that_died_are_removed_by_one_that_needs_none(
    places: Places, version: int
) -> None:
    changes: dict[str, Any] = {"workers": 36, "merge_structure": [1, 2, 36], "data_batchSize": 2}
    job = tiny_job(**changes, data_microBatchSize=1, algorithm_steps=2)
    undisturbed = places.place(job)
    Simulation(undisturbed).run()
    place = places.place(job)
    left: list[str] = []
    simulation = Simulation(place, hurry=1.0)

    def die_before_the_commit(write: Write, after: bool) -> None:
        if write.key.endswith(f"commits/{version}.json") and not left:
            left.extend(name for name in place.listing() if ".cursor-" in name)
            simulation.functions.hurry = 0.0
            raise Killed

    simulation.driver_failpoint = die_before_the_commit
    simulation.run()
    assert {name.split("/")[2].partition("-")[0] for name in left} == {"0", "1"}, "of workers and mergers"
    assert place.listing() == undisturbed.listing()


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_version_that_a_dead_driver_kept_for_its_evaluation_is_removed_by_the_next(
    places: Places, version: int
) -> None:
    undisturbed = places.place(tiny_job())
    Simulation(undisturbed).run()
    place = places.place(tiny_job())
    simulation = Simulation(place)
    simulation.functions.delay = lambda request: 900.0 if request["op"] == "evaluate" else 0.0

    def die_at_the_commit(write: Write, after: bool) -> None:
        if after and write.key.endswith(f"commits/{version}.json"):
            simulation.driver_failpoint = lambda write, after: None
            raise Killed

    simulation.driver_failpoint = die_at_the_commit
    simulation.run()
    assert place.listing() == undisturbed.listing()
