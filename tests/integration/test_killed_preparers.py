"""Preparers that are processes of this machine, killed again and again: the blocks are those of an undisturbed run."""

import asyncio
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.preparations import flights, prepared_job

from sapflow.client.session import local_functions, open_session
from sapflow.driver import preparation
from sapflow.objects import keys
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.runtimes.sender import Answered
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.observer import Observer

KILLS = 6


class Killer(Observer):
    """Kills all preparers as soon as some of the calls are answered, `kills` times."""

    def __init__(self, runtime: EmbeddedRuntime, kills: int) -> None:
        self._runtime, self._left = runtime, kills

    def answered(self, role: Any, op: str, answer: Answered[Any]) -> None:
        if self._left:
            self._left -= 1
            for each in self._runtime.instances():
                os.kill(each.pid, signal.SIGKILL)

    @property
    def left(self) -> int:
        return self._left


def data_of(store: Path) -> dict[str, str]:
    """The SHA-256 of each object of the data, without what is said of the source's files."""
    (area,) = (store / keys.SHARED).iterdir()
    return {
        path.relative_to(area).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((area / "data").rglob("*"))
        if path.is_file() and path.name != "source.json"
    }


def prepare(store: Path, job: TrainingJob, *, kills: int = 0, at_once: int = 2) -> int:
    """Prepare the data of the job; how many of the kills did not come about."""

    async def run() -> int:
        with open_session(job, os.environ, store=str(store)) as opened:
            runtime = local_functions(job, opened.url, os.environ, None)
            killer = Killer(runtime, kills)
            try:
                await preparation.prepare(opened.settle(), opened.store, runtime, killer, at_once=at_once)
            finally:
                await runtime.close()
        return killer.left

    return asyncio.run(run())


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flights(tmp_path_factory.mktemp("raw") / "files", rows=6000, files=6)


def test_killed_preparers_write_the_bytes_of_an_undisturbed_preparation(raw: Path, tmp_path: Path) -> None:
    job = prepared_job(raw)
    prepare(tmp_path / "undisturbed", job)
    assert prepare(tmp_path / "killed", job, kills=KILLS) == 0
    assert data_of(tmp_path / "killed") == data_of(tmp_path / "undisturbed")


@pytest.mark.parametrize(("memory", "at_once"), [("320Mi", 1), ("1Gi", 4)])
def test_other_numbers_and_sizes_of_preparers_write_the_same_bytes(
    raw: Path, tmp_path: Path, memory: str, at_once: int
) -> None:
    job = prepared_job(raw)
    prepare(tmp_path / "one", job)
    sized = job.spec.memory.model_copy(update={"preparer": memory})
    other = job.model_copy(update={"spec": job.spec.model_copy(update={"memory": sized})})
    prepare(tmp_path / "other", other, at_once=at_once)
    assert data_of(tmp_path / "other") == data_of(tmp_path / "one")
