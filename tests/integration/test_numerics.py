"""A job that a release with other numerics began is refused before anything is computed; a finished one is read."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Shell, write_job
from helpers.jobs import Place, Simulation, make_place, tiny_job

from sapflow.client.session import find_session
from sapflow.data.manifest import manifest_key
from sapflow.driver.driver import Driver
from sapflow.errors import OtherNumerics
from sapflow.objects import keys
from sapflow.records import numerics
from sapflow.records.numerics import NUMERICS
from sapflow.steps.observer import Observer

pytestmark = pytest.mark.usefixtures("forked_functions")

JSON = dict[str, Any]


def rewrite(path: Path, change: Callable[[JSON], object]) -> None:
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def named(number: int | None) -> Callable[[JSON], object]:
    """Makes a record name this number of numerics."""

    def change(body: JSON) -> None:
        body.pop("numerics", None)
        if number is not None:
            body["numerics"] = number

    return change


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class RefusingFunctions:
    """Functions that must not be called."""

    async def invoke(self, role: str, body: JSON, *, seconds: float) -> object:
        raise AssertionError(f"{role} was called with {body['op']}")

    async def close(self) -> None:
        pass


class Stop(BaseException):
    """Ends a driver half-way, as a signal does."""


class StopAfter(Observer):
    def __init__(self, version: int) -> None:
        self._version = version

    def committed(self, commit: Any) -> None:
        if commit.version == self._version:
            raise Stop


@pytest.fixture
def half_done(tmp_path: Path) -> Place:
    """A job that was left after its second step."""
    place = make_place(tmp_path / "store", tiny_job())
    with pytest.raises((Stop, BaseExceptionGroup)):
        Simulation(place, observer=StopAfter(2)).run()
    assert place.commit(2).version == 2
    return place


def refused(place: Place, runtime: str = "local") -> str:
    """The refusal of a driver that goes on with a job; it must change nothing in the store."""
    before = contents(place.path)
    resolved = replace(place.resolved, runtime=runtime)  # type: ignore[arg-type]
    driver = Driver(resolved, place.manifest, place.store, RefusingFunctions())  # type: ignore[arg-type]
    with pytest.raises(OtherNumerics) as error:
        asyncio.run(driver.run())
    assert contents(place.path) == before
    return str(error.value)


@pytest.mark.parametrize("number", [None, 1, NUMERICS + 1])
def test_a_half_done_job_of_another_release_is_refused_and_nothing_is_touched(
    half_done: Place, number: int | None
) -> None:
    commits = half_done.path / keys.commits(half_done.resolved.prefix)
    assert json.loads((commits / "0.json").read_text())["numerics"] == NUMERICS
    assert "numerics" not in json.loads((commits / "1.json").read_text())
    rewrite(commits / "0.json", named(number))
    said = refused(half_done)
    assert f"made under numerics {number or 1}" in said
    assert f"computes under numerics {NUMERICS}" in said
    assert ("a later release" if number and number > NUMERICS else "an earlier release") in said
    assert "`sapflow run --again`" in said
    assert "another metadata.name" in said
    in_a_cluster = refused(half_done, "kubernetes")
    assert "--again" not in in_a_cluster
    assert "delete the job and apply it again" in in_a_cluster


def test_a_half_done_job_of_this_release_goes_on(half_done: Place) -> None:
    assert Simulation(half_done).run()["version"] == 5


def test_a_job_whose_data_alone_was_cut_by_another_release_is_refused(tmp_path: Path) -> None:
    place = make_place(tmp_path / "store", tiny_job())
    assert place.manifest.numerics == NUMERICS
    said = refused(replace(place, manifest=replace(place.manifest, numerics=None)))
    assert "the cut data was made under numerics 1" in said


def test_keys_of_version_0_differ_between_numerics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    idents = []
    for number in (NUMERICS, NUMERICS + 1):
        for module in ("sapflow.driver.driver", "sapflow.training.train", "sapflow.data.blocks"):
            monkeypatch.setattr(f"{module}.NUMERICS", number)
        monkeypatch.setattr(numerics, "NUMERICS", number)
        place = make_place(tmp_path / str(number), tiny_job(algorithm_steps=1))
        Simulation(place).run()
        idents.append(place.commit(0).id)
    assert idents[0] != idents[1]


@pytest.mark.parametrize(
    ("own_image", "remedy"), [(True, "spec.model.image"), (False, "images of one release")]
)
def test_a_worker_of_another_release_makes_no_version_0(own_image: bool, remedy: str) -> None:
    numerics.check_worker(NUMERICS, own_image=own_image)
    with pytest.raises(OtherNumerics, match=f"worker computes under numerics 1 .*{remedy}"):
        numerics.check_worker(None, own_image=own_image)


def test_a_driver_refuses_a_worker_of_another_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sapflow.training.train.NUMERICS", None)
    place = make_place(tmp_path / "store", tiny_job())
    with pytest.raises(OtherNumerics, match="use images of one release"):
        Simulation(place).run()
    assert not (place.path / keys.commits(place.resolved.prefix)).exists()


def test_a_local_run_is_refused_until_again_and_a_finished_job_stays_readable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(capsys)
    file, store = write_job(tmp_path / "job.yaml"), tmp_path / "store"
    place = make_place(store, tiny_job())
    outcome = Simulation(place).run()
    folder = store / place.resolved.prefix
    rewrite(folder / "commits/0.json", named(None))
    rewrite(store / manifest_key(place.resolved.data_prefix), named(None))

    # A finished job of the earlier release: the outcome is told, it predicts, and a report is made.
    assert shell("run", file, "--store", store, "--json").json["sha256"] == outcome["sha256"]
    assert shell("predict", folder / "result/model.safetensors", "--json").code == 0
    assert shell("status", file, "--store", store, "--json").json["state"] == "Succeeded"
    page = tmp_path / "report.html"
    assert shell("report", file, "--store", store, "-o", page, "--no-prediction").code == 0
    assert "tiny" in page.read_text()

    # The same job half-way.
    (folder / "result/outcome.json").unlink()
    before = contents(store)
    done = shell("run", file, "--store", store, "--json")
    assert done.code != 0
    assert done.json["error"]["reason"] == "OtherNumerics"
    assert "`sapflow run --again`" in done.json["error"]["message"]
    assert contents(store) == before
    (folder / "commits/0.json").unlink()
    done = shell("run", file, "--store", store, "--json")
    assert "the cut data was made under numerics 1" in done.json["error"]["message"]
    with find_session(place.uid, {}, store=str(store)) as opened:
        opened.forget()
        opened.check_numerics()


@pytest.mark.slow
def test_again_trains_an_unfinished_job_of_another_release_from_the_beginning(
    half_done: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell = Shell(capsys)
    file = write_job(tmp_path / "job.yaml")
    rewrite(half_done.path / keys.commits(half_done.resolved.prefix) / "0.json", named(None))
    command = ("run", "--max-instances", 1, file, "--store", half_done.path, "--json")
    assert shell(*command).json["error"]["reason"] == "OtherNumerics"
    done = shell(*command, "--again")
    assert (done.code, done.json["version"]) == (0, 5)
    assert half_done.commit(0).numerics == NUMERICS
