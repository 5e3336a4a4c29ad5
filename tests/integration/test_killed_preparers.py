"""Preparers that are processes of this machine, killed again and again: the blocks are those of an undisturbed run."""

import asyncio
import gzip
import hashlib
import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.preparations import STEPS, flights, prepared_job

from sapflow.client.session import local_functions, open_session
from sapflow.driver import preparation
from sapflow.errors import JobFailed
from sapflow.objects import keys
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.runtimes.sender import Answered
from sapflow.spec.document import parse
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


def sized(job: TrainingJob, memory: str) -> TrainingJob:
    """The job with another limit of its preparers."""
    limit = job.spec.memory.model_copy(update={"preparer": memory})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"memory": limit})})


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


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a file of three partitions, and one with the same file packed."""
    folder = tmp_path_factory.mktemp("packed")
    (path,) = flights(folder / "plain", rows=35_000, files=1).iterdir()
    drawn = random.Random(1)
    noise = drawn.randbytes(1 << 20).hex()
    head, *rows = path.read_text().splitlines(keepends=True)
    begins = (drawn.randrange(1 << 20) for _ in rows)
    path.write_text(
        head
        + "".join(
            row.replace(",x,", f",{noise[at : at + 2000]},") for row, at in zip(rows, begins, strict=True)
        )
    )
    (folder / "packed").mkdir()
    (folder / "packed" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    return path.parent, folder / "packed"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_packed_files_give_the_bytes_of_files_that_are_not_though_preparers_are_killed(
    packed: tuple[Path, Path], tmp_path: Path
) -> None:
    plain, folder = packed
    prepare(tmp_path / "plain", prepared_job(plain))
    assert prepare(tmp_path / "killed", prepared_job(folder), kills=KILLS) == 0
    of_plain, found = data_of(tmp_path / "plain"), data_of(tmp_path / "killed")
    # Its source is another one.
    assert found.pop("data/manifest.json") != of_plain.pop("data/manifest.json")
    assert found == of_plain
    assert sum("train" in name for name in found) >= 3


@pytest.mark.parametrize(("memory", "at_once"), [("320Mi", 1), ("1Gi", 4)])
def test_other_numbers_and_sizes_of_preparers_write_the_same_bytes(
    raw: Path, tmp_path: Path, memory: str, at_once: int
) -> None:
    job = prepared_job(raw)
    prepare(tmp_path / "one", job)
    prepare(tmp_path / "other", sized(job, memory), at_once=at_once)
    assert data_of(tmp_path / "other") == data_of(tmp_path / "one")


def test_a_preparer_over_its_memory_limit_fails_the_job_with_its_own_remedy(tmp_path: Path) -> None:
    """A row of Parquet's group is of 1 MiB: a batch alone is more than the function may have beside itself."""
    import pyarrow
    from pyarrow import parquet

    random = np.random.default_rng(1)
    (tmp_path / "raw").mkdir()
    vectors = [random.random(1 << 17) for _ in range(64)]
    parquet.write_table(
        pyarrow.table({"x": vectors, "late": ["yes", "no"] * 32}), tmp_path / "raw" / "rows.parquet"
    )
    job = prepared_job(tmp_path / "raw", STEPS[-1:], columns={"late": "Text"})
    data = job.spec.data.model_copy(update={"format": "parquet"})
    job = job.model_copy(update={"spec": job.spec.model_copy(update={"data": data})})
    with pytest.raises(JobFailed) as caught:
        prepare(tmp_path / "store", sized(job, "160Mi"), at_once=1)
    assert caught.value.reason == "OutOfMemory"
    assert "the preparation of the data (" in str(caught.value)
    assert "was killed over its limit of 160 MiB; raise spec.memory.preparer" in str(caught.value)
    assert "microBatchSize" not in str(caught.value)


def test_preparers_of_a_job_with_affinity_belong_to_no_cell_and_write_the_same_bytes(
    raw: Path, tmp_path: Path
) -> None:
    job = prepared_job(raw)
    document = job.to_json()
    document["spec"] |= {
        "workers": 4,
        "affinity": [{"from": "Worker", "to": "Merger", "weight": 100}],
        "placement": {"cells": 2},
        "merge": {"structure": [1, 2, 4]},
    }
    prepare(tmp_path / "placed", parse(document))
    prepare(tmp_path / "plain", job)
    assert data_of(tmp_path / "placed") == data_of(tmp_path / "plain")
