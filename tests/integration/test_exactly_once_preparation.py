"""Whatever dies, repeats or is late: prepared data has the bytes of an undisturbed preparation."""

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from helpers.functions import Fault
from helpers.packed import members, small_partitions
from helpers.preparations import STEPS, LinesReader, PreparationRun, flights, parts, prepared_job
from helpers.schedules import FAULTS, THOROUGH
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.preparation.reading.csv_reader import CsvReader

VARIANTS: dict[str, dict[str, Any]] = {
    "several passes": {},
    "bad rows are kept": {"bad": 5, "maxBadRows": 10},
    "partitions are scanned first": {"reader": LinesReader(scanned=True)},
    "more partitions than a merge takes": {"reader": LinesReader(lines=7, batch=3)},
    "packed files are cut": {"reader": CsvReader(), "packed": True},
    "nothing to learn": {
        "steps": [{"select": {"columns": ["distance", "delay"]}}, {"dropRows": {"columns": ["delay"]}}],
        "target": "delay",
    },
}


@dataclass(frozen=True)
class Schedule:
    """Faults by number of the invocation, ends of the drivers, and the seed of all delays."""

    faults: dict[int, Fault]
    stops: list[int]
    drivers: int
    at_once: int
    hurry: float
    seed: int


SCHEDULES = st.builds(
    Schedule,
    faults=st.dictionaries(st.integers(0, 40), FAULTS, max_size=12),
    stops=st.lists(st.integers(0, 60), max_size=3, unique=True),
    drivers=st.sampled_from([1, 1, 1, 2]),
    at_once=st.integers(1, 5),
    hurry=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**16),
)


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    with small_partitions(1 << 15, 1 << 12):
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("preparations")


def run_of(folder: Path, variant: str, store: str, **changes: Any) -> PreparationRun:
    asked = dict(VARIANTS[variant])
    bad, reader, packed = asked.pop("bad", 0), asked.pop("reader", LinesReader()), asked.pop("packed", False)
    source = folder / ("packed" if packed else f"raw-{bad}")
    if not source.exists():
        flights(folder / "long" if packed else source, rows=5000 if packed else 240, bad=bad)
        if packed:
            pack(folder / "long", source)
    job = prepared_job(source, asked.pop("steps", STEPS), **asked)
    return PreparationRun(folder / store, job, parts(reader), **changes)


def pack(folder: Path, packed: Path) -> None:
    """The files of a folder packed: the first in one member, the others in small ones."""
    packed.mkdir()
    for number, path in enumerate(sorted(folder.iterdir())):
        data = path.read_bytes()
        (packed / f"{path.name}.gz").write_bytes(members(data, 10_000) if number else gzip.compress(data))


@cache
def undisturbed(folder: Path, variant: str) -> dict[str, str]:
    """The digests of what is written where nothing goes wrong."""
    run = run_of(folder, variant, f"undisturbed-{variant}")
    run.run()
    return run.data()


@pytest.mark.parametrize("variant", VARIANTS)
@settings(THOROUGH, max_examples=25)
@given(schedule=SCHEDULES)
def test_any_schedule_of_faults_ends_in_the_undisturbed_bytes(
    folder: Path, variant: str, schedule: Schedule
) -> None:
    run = run_of(
        folder,
        variant,
        "disturbed",
        faults=schedule.faults,
        stops=schedule.stops,
        drivers=schedule.drivers,
        at_once=schedule.at_once,
        hurry=schedule.hurry,
        seed=schedule.seed,
    )
    try:
        run.run()
        found = run.data()
        assert {name: each for name, each in found.items() if not name.startswith("work/")} == undisturbed(
            folder, variant
        )
    finally:
        shutil.rmtree(folder / "disturbed", ignore_errors=True)


def test_packed_files_give_the_blocks_of_files_that_are_not(folder: Path) -> None:
    found = undisturbed(folder, "packed files are cut")
    job = prepared_job(folder / "long")
    plain = PreparationRun(folder / "plain", job, parts(CsvReader()))
    assert len(plain.run().manifest.train) >= 4
    of_source = {"manifest.json"}
    data = plain.data()
    assert {name: each for name, each in found.items() if name not in of_source} == {
        name: each for name, each in data.items() if name not in of_source
    }
    assert of_source < data.keys()


@pytest.fixture
def each_write(folder: Path) -> Iterator[list[int]]:
    """The numbers of invocations of an undisturbed preparation that write, once for each of their writes."""
    run = run_of(folder, "several passes", "counted")
    run.run()
    yield [number for number, count in enumerate(run.functions.writes_of_each) for _ in range(count)]
    shutil.rmtree(folder / "counted")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_death_at_any_write_ends_in_the_undisturbed_bytes(
    folder: Path, each_write: list[int], *, after: bool
) -> None:
    places = [(number, each_write[:place].count(number)) for place, number in enumerate(each_write)]
    for number, write in places:
        run = run_of(
            folder, "several passes", "killed", faults={number: Fault("kill", write=write, after=after)}
        )
        run.run()
        assert run.data() == undisturbed(folder, "several passes"), (number, write)
        shutil.rmtree(folder / "killed")
