"""Jobs that begin at a version of another job."""

import asyncio
import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from helpers.commands import Shell
from helpers.functions import Fault
from helpers.jobs import Crash, Place, Simulation, document, make_place, tiny_job

import sapflow
from sapflow.client import fork as forks
from sapflow.client import local_run
from sapflow.client.session import Session, uid_of
from sapflow.driver.plans import Planning
from sapflow.errors import SapflowError, SpecError
from sapflow.monitoring.report import gather, render
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.records.commits import Commit, Plan
from sapflow.spec.document import load, parse

pytestmark = pytest.mark.usefixtures("forked_functions")

JOBS: dict[str, dict[str, Any]] = {
    "momentum in two shards": {"model_args": {"hidden": [600]}, "merge_shards": 2},
    "Adam, averaged": {
        "optimizer_name": "Adam",
        "algorithm_localSteps": 2,
        "algorithm_localState": "Average",
    },
    "states of ranks": {"algorithm_localSteps": 2, "algorithm_localState": "Keep"},
    "plateau by validation": {
        "optimizer_schedule": {"name": "Plateau", "metric": "ValidationLoss", "patience": 1, "factor": 0.5}
    },
    "planned": {"merge": {"channel": "Store"}},
}


def kept(**changes: Any) -> dict[str, Any]:
    return {"algorithm_steps": 8, "checkpoint": {"everySteps": 3, "keep": 5}, **changes}


def fork_of(
    place: Place, version: int, change: Callable[[dict[str, Any]], None] = lambda spec: None, **changes: Any
) -> Place:
    """A fork of the place's job in the same store, its data cut."""
    body = copy.deepcopy(document(**kept(**changes)))
    body["spec"]["from"] = {"job": place.uid, "version": version}
    change(body["spec"])
    job = parse(body)
    session = Session(uid_of(job), job, place.store, place.path.as_uri())
    return Place(job, session.uid, session.cut_data(), place.store, place.path)


def bits(commit: Commit) -> tuple[list[str | None], list[str | None], str | None]:
    assert commit.sha256 is not None
    return commit.sha256.params, commit.sha256.optimizer, commit.sha256.states


def commits_of(place: Place) -> dict[int, Commit]:
    prefix = keys.job(place.uid)
    folder = place.path / keys.commits(prefix)
    return {int(file.stem): place.commit(int(file.stem)) for file in folder.iterdir()}


@pytest.mark.parametrize("name", JOBS)
def test_an_unchanged_fork_has_the_bits_of_the_other_job(tmp_path: Path, name: str) -> None:
    place = make_place(tmp_path, tiny_job(**kept(**JOBS[name])))
    Simulation(place).run()
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    forked = fork_of(place, 3, **JOBS[name])
    outcome = Simulation(forked, {2: Fault("twice"), 9: Fault("lose")}).run()
    assert outcome["version"] == 8
    made, others = commits_of(forked), commits_of(place)
    assert sorted(made) == [0, 3, 4, 5, 6, 7, 8]
    assert {version: bits(made[version]) for version in range(4, 9)} == {
        version: bits(others[version]) for version in range(4, 9)
    }
    # A commit does not tell which rank states it began with.
    assert bits(made[3])[:2] == bits(others[3])[:2]
    assert forked.result() == place.result()
    assert before <= {path for path in tmp_path.rglob("*") if path.is_file()}, (
        "a fork removes nothing of another job"
    )
    assert forked.of_no_version() == []


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished job with checkpoints 3 and 6, of which forks are made in its own store."""
    place = make_place(tmp_path_factory.mktemp("parent"), tiny_job(**kept()))
    Simulation(place).run()
    return place


def changed(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(spec: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for each in parents:
            spec = spec.setdefault(each, {})
        spec[last] = value

    return change


def parts_of(place: Place, other: Place) -> int:
    """The first version at which two jobs have other bits."""
    made, others = commits_of(place), commits_of(other)
    return next(each for each in range(4, 9) if bits(made[each]) != bits(others[each]))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("optimizer.learningRate", 0.01),
        ("optimizer.clipNorm", 0.01),
        ("model.args", {"hidden": [8], "activation": "tanh"}),
        ("merge", {"structure": [1, 4]}),
        ("workers", 3),
        ("data.batchSize", 4),
        ("algorithm.seed", 4),
    ],
)
def test_what_a_fork_changes_takes_effect_from_its_first_step(
    parent: Place, path: str, value: object
) -> None:
    def change(spec: dict[str, Any]) -> None:
        if path == "workers":
            spec["merge"] = {"structure": [1, 3]}
        changed(path, value)(spec)

    forked = fork_of(parent, 3, change)
    Simulation(forked).run()
    assert parts_of(forked, parent) == 4
    first = commits_of(forked)[3]
    assert bits(first)[0] == bits(parent.commit(3))[0]
    anew = path in ("data.batchSize", "algorithm.seed")
    assert first.cursor.used == (0 if anew else 96), "an epoch that is dealt otherwise begins anew"


@pytest.mark.parametrize(
    ("path", "value", "field", "word"),
    [
        ("model.args", {"hidden": [9]}, "spec.model", "has other parameters"),
        ("optimizer", {"name": "Adam"}, "spec.optimizer.name", "must stay Momentum"),
        ("algorithm.localSteps", 2, "spec.algorithm", "must keep mode"),
        ("algorithm.steps", 3, "spec.algorithm.steps", "leaves no step"),
        ("from", {"job": "nobody", "version": 3}, "spec.from.job", "there is no job nobody"),
        ("from.version", 9, "spec.from.version", "has no version 9; its last is 8"),
        ("from.version", 4, "spec.from.version", "does not keep version 4"),
    ],
)
def test_what_a_fork_may_not_change_is_said_before_any_step(
    parent: Place, path: str, value: object, field: str, word: str
) -> None:
    forked = fork_of(parent, 3, changed(path, value))
    with pytest.raises(SpecError) as refused:
        Simulation(forked).run()
    ((found, message),) = refused.value.problems
    assert found == field
    assert word in message
    assert not any(name.startswith(("commits/", "params/")) for name in forked.listing())


@pytest.mark.parametrize("write", range(9))
@pytest.mark.parametrize("how", ["before", "after"])
def test_a_driver_that_dies_while_a_fork_begins_is_followed_by_one_that_does_the_same(
    parent: Place, tmp_path: Path, write: int, how: Literal["before", "after"]
) -> None:
    shutil.copytree(parent.path, tmp_path / "store")
    copied = replace(parent, store=open_store(str(tmp_path / "store")), path=tmp_path / "store")
    forked = fork_of(copied, 6)
    Simulation(forked, crashes=[Crash(write, how)], drivers=2 if write == 5 else 1).run()
    made = commits_of(forked)
    assert sorted(made) == [0, 6, 7, 8]
    assert bits(made[8]) == bits(parent.commit(8))
    assert forked.result() == parent.result()
    assert forked.of_no_version() == []


def test_a_fork_of_a_fork_begins_in_the_middle_and_what_reads_versions_knows_its_first(parent: Place) -> None:
    first = fork_of(parent, 3, changed("limits", {"retries": 9}))
    Simulation(first).run()
    second = fork_of(first, 6)
    Simulation(second).run()
    assert sorted(commits_of(second)) == [0, 6, 7, 8]
    assert bits(commits_of(second)[8]) == bits(parent.commit(8))
    lines = bytes(second.store.read(keys.metrics(keys.job(second.uid), 0))).splitlines()
    assert [json.loads(line)["version"] for line in lines] == [7, 8]
    facts = asyncio.run(gather(second.uid, second.job, second.store))
    assert "</html>" in render(facts)
    with pytest.raises(SpecError, match="has no version 5"):
        Simulation(fork_of(second, 5)).run()


def test_a_replaced_object_of_the_other_job_begins_no_fork(tmp_path: Path) -> None:
    place = make_place(tmp_path, tiny_job(**kept()))
    Simulation(place).run()
    (part,) = place.commit(6).params
    content = bytearray(place.store.read(part.key))
    content[-1] ^= 1
    place.store.delete([part.key])
    place.store.create(part.key, bytes(content))
    with pytest.raises(SapflowError, match="is not what was recorded when it was written"):
        Simulation(fork_of(place, 6)).run()


def test_an_asynchronous_job_goes_on_where_each_rank_was(tmp_path: Path) -> None:
    asynchronous: dict[str, Any] = {"algorithm_mode": "Async", "merge": None, "evaluation": {"everySteps": 4}}
    place = make_place(tmp_path, tiny_job(**kept(**asynchronous)))
    Simulation(place).run()
    forked = fork_of(place, 6, **asynchronous)
    Simulation(forked).run()
    made = commits_of(forked)
    assert made[6].counters == place.commit(6).counters
    assert made[max(made)].counters == [8] * 4
    refused = fork_of(place, 6, changed("workers", 3), **asynchronous)
    with pytest.raises(SpecError, match=r"spec\.workers: must stay 4"):
        Simulation(refused).run()


def test_the_command_writes_a_job_that_runs_from_there(
    parent: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell, file = Shell(capsys), tmp_path / "slower.yaml"
    store = ("--store", parent.path)
    said = shell("fork", f"{parent.uid}@6", "--set", "spec.optimizer.learningRate=0.01", "-o", file, *store)
    assert said.out.strip() == f"{file} begins at version 6 of {parent.uid}"
    job = load(file.read_text())
    assert (job.metadata.name, job.spec.optimizer.learning_rate) == ("tiny-v6", 0.01)
    assert job.spec.begins_at is not None
    assert (job.spec.begins_at.job, job.spec.begins_at.version) == (parent.uid, 6)
    session = Session(uid_of(job), job, parent.store, parent.path.as_uri())
    forked = Place(job, session.uid, session.cut_data(), parent.store, parent.path)
    Simulation(forked).run()
    assert sorted(commits_of(forked)) == [0, 6, 7, 8]
    gone = shell("fork", f"{parent.uid}@4", *store)
    assert (gone.code, "does not keep version 4 any more: name one that it keeps (3, 6, 8)" in gone.err) == (
        2,
        True,
    )
    unknown = shell("fork", f"{parent.uid}@6", "--set", "spec.optimizer.rate=1", *store)
    assert (unknown.code, "spec.optimizer.rate: is not a field" in unknown.err) == (2, True)
    other = shell("fork", f"{parent.uid}@6", "--set", "spec.optimizer.name=Adam", *store)
    assert (other.code, "spec.optimizer.name: must stay Momentum" in other.err) == (2, True)
    early = shell("export", f"{forked.uid}@0", *store)
    assert f"begins at version 6 of {parent.uid}" in early.err


def test_python_gives_a_job_that_begins_there(parent: Place) -> None:
    finished = sapflow.run(
        sapflow.TrainingJob.from_document(document(**kept())), store=parent.path, progress=False
    )
    assert finished.uid == parent.uid
    job = finished.fork(6, {"spec.optimizer.learningRate": 0.01, "spec.limits": None}, name="slower")
    assert (job.name, job.spec.optimizer.learning_rate, job.spec.limits.retries) == ("slower", 0.01, 3)
    origin = job.spec.begins_at
    assert origin is not None
    assert (origin.job, origin.version) == (parent.uid, 6)
    latest = finished.fork(changes={"spec.algorithm.steps": 9}).spec.begins_at
    assert latest is not None
    assert latest.version == 8
    with pytest.raises(SpecError, match="leaves no step"):
        finished.fork()


def test_a_job_of_a_cluster_is_named_as_there_and_keeps_what_its_object_alone_has(parent: Place) -> None:
    opened = Session(parent.uid, parent.job, parent.store, parent.path.as_uri(), "kubernetes")
    written = forks.document(opened, 6, {})
    assert written["spec"]["from"] == {"job": "tiny", "version": 6}
    spec = {**document(**kept())["spec"], "pods": {"priorityClassName": "low"}}
    assert forks.document(opened, 6, {}, spec=spec)["spec"]["pods"] == {"priorityClassName": "low"}


def test_samples_of_a_program_are_taken_from_the_other_job(tmp_path: Path) -> None:
    features = np.random.default_rng(0).standard_normal((120, 4)).astype(np.float32)
    body = document(**kept())
    given = sapflow.TrainingJob("arrays", model="mlp", data=(features, np.arange(120) % 3), workers=2)
    with given.resolved() as (found, source):
        body["spec"]["data"]["source"] = found["spec"]["data"]["source"]
        job = parse(body)
        store = open_store(str(tmp_path))
        opened = Session(uid_of(job), job, store, tmp_path.as_uri())
        place = Place(job, opened.uid, opened.cut_data(source=source), store, tmp_path)
    Simulation(place).run()
    forked = copy.deepcopy(body)
    forked["spec"]["from"] = {"job": place.uid, "version": 6}
    job = parse(forked)
    again = Session(uid_of(job), job, store, tmp_path.as_uri())
    assert local_run._take_over(again, {}) == place.manifest
    outcome = Simulation(Place(job, again.uid, place.manifest, store, tmp_path)).run()
    assert outcome["sha256"] == Simulation(place).run()["sha256"]


def test_a_fork_is_not_planned_anew_from_measured_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another tree has other bits, and seconds would decide about it."""
    long: dict[str, Any] = {
        "algorithm_steps": 30,
        "merge": {"channel": "Store"},
        "workers": 6,
        "data_batchSize": 4,
    }
    place = make_place(tmp_path, tiny_job(**long, checkpoint={"everySteps": 2, "keep": 20}))
    judged: list[int] = []

    def better(planning: Planning, last: Commit, plan: Plan) -> None:
        judged.append(last.version)

    monkeypatch.setattr(Planning, "_better", better)
    Simulation(place).run()
    assert judged, "a job that begins from its seed is judged by its steps"
    judged.clear()
    forked = fork_of(place, 2, **long)
    Simulation(forked, crashes=[Crash(40, "before")]).run()
    assert judged == []
    assert bits(forked.commit(30)) == bits(place.commit(30))
