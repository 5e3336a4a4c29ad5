"""Where two jobs part, and why."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Shell
from helpers.jobs import Place, Simulation, document, make_place, tiny_job

from sapflow.client.session import Session, uid_of
from sapflow.objects import keys
from sapflow.spec.document import parse


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = make_place(tmp_path_factory.mktemp("store"), tiny_job(**kept()))
    Simulation(place).run()
    return place


def kept(**changes: Any) -> dict[str, Any]:
    return {"algorithm_steps": 8, "checkpoint": {"everySteps": 3, "keep": 5}, **changes}


def beside(place: Place, origin: int | None = None, **changes: Any) -> Place:
    """Another job in the place's store, or its fork at a version, trained."""
    body = document(**kept(**changes))
    if origin is not None:
        body["spec"]["from"] = {"job": place.uid, "version": origin}
    job = parse(body)
    session = Session(uid_of(job), job, place.store, place.path.as_uri())
    other = Place(job, session.uid, session.cut_data(), place.store, place.path)
    Simulation(other).run()
    return other


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def diff(shell: Shell, one: Place, other: Place) -> tuple[int, dict[str, Any]]:
    done = shell("diff", one.uid, other.uid, "--store", one.path, "--output", "json")
    return done.code, json.loads(done.out)


def kinds(found: dict[str, Any]) -> dict[str, str]:
    return {each["kind"]: each["words"] for each in found["reasons"]}


def test_a_fork_parts_at_the_first_step_that_it_makes_otherwise(parent: Place, shell: Shell) -> None:
    other = beside(parent, 3, optimizer_learningRate=0.01)
    code, found = diff(shell, parent, other)
    assert (code, found["version"], found["compared"]) == (1, 4, [3, 4])
    assert found["reasons"][0] == {"kind": "spec", "words": "spec.optimizer.learningRate: 0.1 and 0.01"}
    assert f"the other at version 3 of {parent.uid}" in kinds(found)["origin"]
    text = shell("diff", parent.uid, other.uid, "--store", parent.path)
    assert text.code == 1
    assert f"{parent.uid} and {other.uid} part at version 4; before it they are the same" in text.out


def test_an_unchanged_fork_is_the_same_to_the_end(parent: Place, shell: Shell) -> None:
    other = beside(parent, 6, limits={"retries": 7})
    code, found = diff(shell, parent, other)
    assert (code, found["compared"], found["lastVersions"]) == (0, [6, 8], [8, 8])
    assert "version" not in found


def test_another_tree_and_another_seed_are_told(parent: Place, shell: Shell) -> None:
    tree = beside(parent, merge={"structure": [1, 4], "channel": "Store"})
    code, found = diff(shell, parent, tree)
    assert (code, found["version"]) == (1, 1)
    assert kinds(found)["plan"] == "merged by [1, 2, 4] and by [1, 4]"
    seed = beside(parent, algorithm_seed=4)
    code, found = diff(shell, parent, seed)
    assert (code, found["version"]) == (1, 0)
    assert kinds(found)["data"] == "their data, as it was cut, differs"
    assert "differ from version 0 on" in shell("diff", parent.uid, seed.uid, "--store", parent.path).out


def test_commits_without_digests_are_counted_and_not_taken_for_the_same(tmp_path: Path, shell: Shell) -> None:
    place = make_place(tmp_path, tiny_job(**kept()))
    Simulation(place).run()
    other = beside(place, 3, evaluation={"everySteps": 4})
    commit = other.commit(5)
    key = keys.commit(keys.job(other.uid), 5)
    place.store.delete([key])
    place.store.create(key, commit.model_copy(update={"sha256": None}).encode())
    code, found = diff(shell, place, other)
    assert (code, found["unknown"]) == (0, 1)
    wrong = other.commit(6)
    assert wrong.sha256 is not None
    key = keys.commit(keys.job(other.uid), 6)
    place.store.delete([key])
    changed = wrong.sha256.model_copy(update={"params": ["0" * 64]})
    place.store.create(key, wrong.model_copy(update={"sha256": changed}).encode())
    code, found = diff(shell, place, other)
    assert (code, found["version"]) == (1, 6)


def test_a_version_in_place_of_a_job_is_refused(parent: Place, shell: Shell) -> None:
    done = shell("diff", f"{parent.uid}@3", parent.uid, "--store", parent.path)
    assert (done.code, "name jobs, and no versions of them" in done.err) == (2, True)
