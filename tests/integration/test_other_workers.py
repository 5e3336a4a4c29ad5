"""Jobs that go on with another number of workers, whatever happens meanwhile."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from helpers.functions import requests
from helpers.jobs import Crash, Place, Places, Simulation, tiny_job

from sapflow.errors import SpecError
from sapflow.planning.other_workers import dealt_anew
from sapflow.records.commits import Commit, Cursor, Dealing
from sapflow.spec.training_job import TrainingJob

SAMPLES = 120


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def job(**changes: Any) -> TrainingJob:
    """120 samples, 4 workers, 20 samples a step, 2 epochs of 6 steps."""
    fields: dict[str, Any] = {
        "merge_structure": None,
        "data_batchSize": 5,
        "algorithm_steps": None,
        "algorithm_epochs": 2,
        "evaluation_everySteps": 100,
    }
    return tiny_job(**(fields | changes))


def run(place: Place, crashes: list[Crash], workers: list[int]) -> tuple[Simulation, dict[str, Any]]:
    """Run a job; after the first crash it goes on with the first number of `workers`, and so on."""
    rest = list(workers)

    def crashed() -> None:
        if rest:
            simulation.workers = rest.pop(0)

    simulation = Simulation(place, crashes=crashes, on_crash=crashed)
    return simulation, simulation.run()


def used(place: Place, simulation: Simulation) -> Counter[tuple[int, int]]:
    """How often each sample of each epoch was used by a step that was committed."""
    ids = {commit.id for commit in place.commits()}
    found: Counter[tuple[int, int]] = Counter()
    seen = set()
    for request in requests(simulation.functions.log, "train"):
        key = request["outputs"][0]["key"]
        if not any(f"/{request['version']}-{each}/" in key for each in ids) or key in seen:
            continue
        seen.add(key)
        for piece in request["slices"]:
            first = piece["range"][0]
            for place_of in range(piece["begin"], piece["end"]):
                found[request["epoch"], first + place_of] += 1
    return found


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("write", [6, 9, 16, 23])
def test_every_sample_is_used_once_an_epoch_with_the_workers_before_and_after(
    places: Places, workers: int, write: int
) -> None:
    place = places.place(job())
    simulation, outcome = run(place, [Crash(write, "after")], [workers])
    counts = used(place, simulation)
    assert set(counts.values()) == {1}
    assert len(counts) == 2 * SAMPLES
    commits = list(place.commits())
    plans = [commit.dealt for commit in commits if commit.dealt is not None]
    assert len(plans) == 1, "the change is recorded once"
    assert commits[-1].cursor == Cursor(epoch=2)
    assert commits[-1].lengths is not None
    assert commits[-1].lengths.steps == outcome["version"] == commits[-1].version
    assert commits[-1].lengths.updates == commits[-1].updates
    left = [key for key in place.listing() if key.startswith("work/")]
    assert left == []


@pytest.mark.parametrize("write", [9, 10, 11])
def test_what_was_not_to_be_evaluated_with_the_workers_of_then_is_not_asked_for(
    places: Places, write: int
) -> None:
    """By default each epoch's last version is evaluated: version 6 with 4 workers; with 9, version 3 would be."""
    place = places.place(job(evaluation_everySteps=None, algorithm_epochs=3))
    simulation, outcome = run(place, [Crash(write, "after")], [9])
    stood = next(commit.version for commit in place.commits() if commit.dealt is not None) - 1
    assert 3 < stood < 6
    assert outcome["version"] > stood
    evaluated = {request["version"] for request in requests(simulation.functions.log, "evaluate")}
    due = {version for version in range(stood, outcome["version"] + 1) if version % 3 == 0}
    assert evaluated == due | {outcome["version"]}


def test_the_workers_may_change_several_times_within_an_epoch(places: Places) -> None:
    place = places.place(job(algorithm_epochs=1))
    crashes = [Crash(5, "after"), Crash(8, "after"), Crash(12, "after")]
    simulation, _ = run(place, crashes, [2, 7, 3])
    assert set(used(place, simulation).values()) == {1}
    assert len(used(place, simulation)) == SAMPLES
    assert max(len(commit.cursor.dealings or ()) for commit in place.commits()) >= 2


@pytest.mark.parametrize("again", range(13, 24))
def test_a_driver_that_dies_while_the_workers_change_changes_no_bit(places: Places, again: int) -> None:
    once, twice = places.place(job()), places.place(job())
    _, whole = run(once, [Crash(12, "after")], [3])
    _, repeated = run(twice, [Crash(12, "after"), Crash(again, "before")], [3])
    assert repeated["sha256"] == whole["sha256"]
    assert [c.id for c in once.commits()] == [c.id for c in twice.commits()]


def test_a_rank_keeps_its_state_and_a_new_one_starts_without(places: Places) -> None:
    place = places.place(job(algorithm_localSteps=2, algorithm_localState="Keep"))
    simulation, _ = run(place, [Crash(7, "after")], [6])
    change = next(commit for commit in place.commits() if commit.dealt is not None)
    asked = {
        request["rank"]: request.get("state")
        for request in requests(simulation.functions.log, "train")
        if f"-{change.id}/" in request["outputs"][0]["key"]
    }
    assert sorted(asked) == list(range(6))
    assert all(asked[rank] for rank in range(4))
    assert not any(asked.get(rank) for rank in (4, 5))


def test_a_rank_that_comes_back_starts_without_the_state_that_it_had(places: Places) -> None:
    place = places.place(job(algorithm_localSteps=2, algorithm_localState="Keep", algorithm_epochs=3))
    run(place, [Crash(7, "after")], [2])
    changed = [commit for commit in place.commits() if commit.lengths is not None]
    assert all(stop <= 2 for commit in changed for each in commit.states or () for _, stop in each.ranks)


def test_a_commit_that_another_driver_planned_for_other_workers_is_gone_on_with(places: Places) -> None:
    place = places.place(job())
    simulation = Simulation(place, drivers=2, crashes=[Crash(14, "after")])

    def crashed() -> None:
        simulation.workers = 3

    simulation.on_crash = crashed
    simulation.run()
    assert list(place.commits())[-1].cursor == Cursor(epoch=2)


class TestRefused:
    """What cannot go on with another number."""

    def refused(self, job: TrainingJob, workers: int = 3, **fields: Any) -> str:
        last = Commit.model_validate(
            {
                "version": 2, "id": "x", "previous": "", "plan": "p", "slots": [], "params": [], "optimizer": [],
                "sizes": {"parameters": 1, "averaged": 0, "block": 1}, "cursor": {"epoch": 0, "used": 40}, **fields,
            }
        )  # fmt: skip
        with pytest.raises(SpecError) as caught:
            dealt_anew(last, job.with_workers(workers), SAMPLES, 4)
        return str(caught.value)

    def test_asynchronous_jobs(self) -> None:
        assert "spec.workers: must stay 4: an asynchronous job" in self.refused(
            job(algorithm_mode="Async", merge_channel=None)
        )

    def test_jobs_with_cells(self) -> None:
        affinity = [{"from": "Worker", "to": "Merger", "weight": 100}]
        assert "spec.workers: must stay 4: the cells" in self.refused(job(affinity=affinity))

    def test_jobs_that_name_their_tree(self) -> None:
        assert "spec.merge.structure: ends at 4 workers" in self.refused(job(merge_structure=[1, 2, 4]))

    def test_more_workers_than_drop_last_leaves_samples_for(self) -> None:
        assert "spec.data.dropLast: leaves no step" in self.refused(job(data_dropLast=True), workers=25)


def test_with_drop_last_what_is_less_than_a_step_of_the_new_workers_is_left_out() -> None:
    last = Commit.model_validate(
        {
            "version": 5, "id": "x", "previous": "", "plan": "p", "slots": [], "params": [], "optimizer": [],
            "sizes": {"parameters": 1, "averaged": 0, "block": 1}, "cursor": {"epoch": 0, "used": 100},
        }
    )  # fmt: skip
    changed = job(data_dropLast=True).with_workers(5)
    assert dealt_anew(last, changed, SAMPLES, 4).cursor == Cursor(epoch=1)
    dealt = dealt_anew(last, job().with_workers(5), SAMPLES, 4)
    assert dealt.cursor == Cursor(epoch=0, used=100, dealings=[Dealing(workers=4, steps=5)])
