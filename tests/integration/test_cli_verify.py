"""`sapflow verify`: what it says, and its exit codes. Functions are simulated; all else is the command's own."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Shell
from helpers.functions import Functions
from helpers.jobs import Place, Simulation, make_place, tiny_job

from sapflow.client import verify
from sapflow.client.session import Session
from sapflow.errors import DataError
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.records.commits import Commit, Measured

pytestmark = pytest.mark.usefixtures("forked_functions")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A finished job; its versions are computed again by functions without processes."""

    def functions(opened: Session, url: str, *rest: Any) -> Any:
        return Closing(open_store(url), 0, {}, 0.0, lambda write, after: None)

    monkeypatch.setattr(verify, "_runtime", functions)
    found = make_place(tmp_path / "store", tiny_job(algorithm_steps=4, checkpoint={"everySteps": 2}))
    Simulation(found).run()
    return found


class Closing(Functions):
    """Functions that can be ended as a runtime is."""

    async def close(self) -> None:
        return


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def rewritten(place: Place, commit: Commit) -> None:
    key = keys.commit(keys.job(place.uid), commit.version)
    place.store.delete([key])
    place.store.create(key, commit.encode())


def altered(place: Place, version: int) -> None:
    """Let a commit name another SHA-256 for its parameters."""
    commit = place.commit(version)
    assert commit.sha256 is not None
    digests = commit.sha256.model_copy(update={"params": ["0" * 64]})
    rewritten(place, commit.model_copy(update={"sha256": digests}))


def measured(place: Place, version: int, **changes: Any) -> None:
    """Put other measurements into a commit, from which no key follows."""
    commit = place.commit(version)
    rewritten(
        place,
        commit.model_copy(
            update={"measured": Measured.model_validate({**commit.measured.body(), **changes})}
        ),
    )


def test_all_versions_that_are_the_same_are_said_line_by_line(place: Place, shell: Shell) -> None:
    done = shell("verify", place.uid, "--store", place.path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        *(f"version {version}: the same" for version in range(5)),
        f"{place.uid}: 5 versions the same",
    ]
    assert shell("verify", f"{place.uid}@3", "--store", place.path).out.startswith("version 3: the same\n")


def test_a_version_that_differs_is_named_with_its_objects_and_is_a_failure(
    place: Place, shell: Shell
) -> None:
    commit = place.commit(3)
    altered(place, 3)
    done = shell("verify", place.uid, "--store", place.path)
    assert done.code == 1
    assert f"version 3: DIFFERS: {commit.params[0].key}" in done.out
    assert f"{place.uid}: 3 versions the same, 1 differ, 1 not compared" in done.out
    body = shell("verify", place.uid, "--store", place.path, "--versions", "3..", "--json").json
    assert (body["exitCode"], body["differs"], body["notCompared"]) == (1, 1, 1)


def test_where_nothing_can_be_compared_the_exit_code_says_so(place: Place, shell: Shell) -> None:
    rewritten(place, place.commit(3).model_copy(update={"sha256": None}))
    done = shell("verify", f"{place.uid}@3", "--store", place.path)
    assert (done.code, "not compared" in done.out) == (2, True)


def test_other_cpus_images_and_numerics_are_warned_of_once(place: Place, shell: Shell) -> None:
    for version in (1, 2):
        measured(place, version, cpus=["riscv64 none"], images={"worker": "registry/worker:1"})
    rewritten(place, place.commit(0).model_copy(update={"numerics": 1}))
    done = shell("verify", place.uid, "--store", place.path, "--versions", "1..2")
    assert done.code == 0
    assert done.err.count("warning: version 1 was computed on riscv64 none, and this machine is") == 1
    assert done.err.count("registry/worker:1") == 1
    assert "the job was computed under numerics 1" in done.err


def test_versions_that_differ_and_were_computed_by_other_libraries_are_no_verdict_and_the_image_is_named(
    place: Place, shell: Shell
) -> None:
    altered(place, 3)
    differs = shell("verify", f"{place.uid}@3", "--store", place.path)
    assert (differs.code, differs.err) == (1, "")
    images = {"worker": "registry/worker:1", "merger": "registry/merger:1"}
    measured(place, 3, libraries={"numpy": ["0.0.1"], "other": ["1"]}, images=images)
    done = shell("verify", place.uid, "--store", place.path, "--versions", "2..3")
    assert done.code == 1
    (warned, *_) = [line for line in done.err.splitlines() if "numpy" in line]
    assert warned.startswith("warning: version 3 was computed with numpy 0.0.1, and here is numpy ")
    note = done.err.splitlines()[-1]
    assert "says nothing of the job" in note
    assert f"--entrypoint python3 registry/worker:1 -m sapflow verify {place.uid} --versions 2..3" in note
    body = shell("verify", f"{place.uid}@3", "--store", place.path, "--json").json
    assert body["remedy"].startswith("the versions were computed elsewhere")
    same = shell("verify", f"{place.uid}@2", "--store", place.path, "--json").json
    assert "remedy" not in same


def test_a_version_that_follows_from_one_that_differs_here_says_so_and_how_to_tell(
    place: Place, shell: Shell
) -> None:
    altered(place, 3)
    measured(place, 3, libraries={"numpy": ["0.0.1"]})
    measured(place, 4, images={"worker": "registry/worker:1"})
    done = shell("verify", f"{place.uid}@4", "--store", place.path)
    assert done.code == 2
    assert (
        "version 4: not compared (it follows from version 3, which differs here and is not kept)" in done.out
    )
    assert "computed with numpy 0.0.1, and here is numpy" in done.err
    assert f"registry/worker:1 -m sapflow verify {place.uid} --versions 4" in done.err


def test_where_no_image_is_known_the_same_libraries_and_cpu_are_named(place: Place, shell: Shell) -> None:
    altered(place, 3)
    measured(place, 3, cpus=["riscv64 none"])
    done = shell("verify", f"{place.uid}@3", "--store", place.path)
    assert "compute them again by the same versions of libraries, on a CPU of the same kind" in done.err


@pytest.mark.parametrize("asked", ["3..1", "9", "a..b", "2..9"])
def test_versions_that_are_none_are_refused(place: Place, shell: Shell, asked: str) -> None:
    done = shell("verify", place.uid, "--store", place.path, "--versions", asked)
    assert (done.code, f"versions {asked!r}" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "found"), [(None, [1, 2, 3]), ("2..", [2, 3]), ("..2", [1, 2]), ("2", [2]), ("0..1", [0, 1])]
)
def test_ranges_of_versions(text: str | None, found: list[int]) -> None:
    assert verify.versions_in(text, 3, 1) == found


def test_code_of_a_jobs_own_needs_consent(place: Place) -> None:
    own = tiny_job(model={"entrypoint": "stranger:make"})
    opened = Session(place.uid, own, place.store, place.path.as_uri())

    with pytest.raises(DataError, match="names code of its own"):
        asyncio.run(verify.verify(opened, "1", {}, []))
