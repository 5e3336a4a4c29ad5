"""Preparations for tests: a reader of plain lines, small raw files, and whole runs in virtual time."""

import asyncio
import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from helpers import virtual_loop
from helpers.functions import Fault, Functions
from helpers.jobs import document
from helpers.tapped_store import TappedStore
from sapflow.client.session import Session, uid_of
from sapflow.data.data_file import DataFile
from sapflow.data.files import local_file
from sapflow.driver import preparation
from sapflow.driver.preparation import PreparedData
from sapflow.errors import InvocationError
from sapflow.objects.stores.factory import open_store
from sapflow.preparation.batch import Batch, Text
from sapflow.preparation.opened import Parts
from sapflow.preparation.own_parts import steps_of
from sapflow.preparation.reading.reader import (
    Asked,
    Parsed,
    Partition,
    Piece,
    Plan,
    PlannedColumn,
    Reader,
    Rejected,
)
from sapflow.preparation.record import Record
from sapflow.preparation.steps.registry import CLASSES
from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Reply
from sapflow.spec.document import parse
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.observer import Observer


@dataclass(frozen=True)
class LinesReader(Reader):
    """CSV without quoting, whose partitions are of `lines` rows each, and whose batches are of `batch` rows.

    A row with another number of cells than the header is rejected. It is for tests alone: it reads whole files.
    """

    lines: int = 64
    batch: int = 16
    scanned: bool = False
    """Whether partitions are to be scanned before they are read."""
    format: ClassVar[str] = "csv"

    def survey(self, files: Sequence[DataFile], asked: Asked) -> Plan:
        names = self._rows(files[0])[0]
        columns = tuple(PlannedColumn(name=name, kind=asked.columns.get(name, "Number")) for name in names)
        found = []
        for number, file in enumerate(files):
            count = len(self._rows(file)) - 1
            found += [
                Partition(pieces=(Piece(file=number, begin=at, end=min(at + self.lines, count)),))
                for at in range(0, count, self.lines)
            ]
        to_scan = tuple(range(len(found))) if self.scanned else ()
        return Plan(
            format="csv",
            columns=columns,
            partitions=tuple(found),
            to_scan=to_scan,
            missing=tuple(asked.missing),
        )

    def scan(self, files: Sequence[DataFile], plan: Plan, number: int) -> Record:
        piece = plan.partitions[number].pieces[0]
        return Record({"rows": piece.end - piece.begin})

    def cut(self, plan: Plan, scans: Sequence[Record]) -> Plan:
        return plan.model_copy(
            update={"to_scan": (), "notes": {"rows": sum(each.notes["rows"] for each in scans)}}
        )

    def batches(self, files: Sequence[DataFile], plan: Plan, number: int, first: int = 0) -> Iterator[Parsed]:
        (piece,) = plan.partitions[number].pieces
        rows = self._rows(files[piece.file])[1 + piece.begin : 1 + piece.end]
        for at in range(first * self.batch, len(rows), self.batch):
            some = list(enumerate(rows[at : at + self.batch], at))
            good = [(place, cells) for place, cells in some if len(cells) == len(plan.columns)]
            rejected = tuple(
                Rejected(
                    place,
                    files[piece.file].name,
                    2 + piece.begin + place,
                    "",
                    "has other cells",
                    ",".join(cells),
                )
                for place, cells in some
                if len(cells) != len(plan.columns)
            )
            columns = {
                column.name: _column(column, [cells[each] for _, cells in good], plan.missing)
                for each, column in enumerate(plan.columns)
            }
            numbers = np.array([place for place, _ in good], np.int64)
            yield Parsed(Batch(columns, numbers, number), rejected)

    def _rows(self, file: DataFile) -> list[list[str]]:
        with file.open() as stream:
            return [line.split(",") for line in stream.read().decode().splitlines()]


def _column(column: PlannedColumn, cells: list[str], missing: Sequence[str]) -> np.ndarray | Text:
    if column.kind == "Text":
        return Text.of(None if cell in missing else cell for cell in cells)
    return np.array([np.nan if cell in missing else float(cell) for cell in cells], np.float64)


def parts(reader: Reader | None = None) -> Parts:
    """What preparations of tests are put together of: all steps there are, read from plain lines."""
    used = reader or LinesReader()

    return Parts(lambda format: used, steps_of, CLASSES)


def flights(path: Path, *, rows: int = 300, files: int = 2, bad: int = 0, seed: int = 1) -> Path:
    """A folder of small CSV files with missing values, categories and a target `late`; `bad` rows lack a cell."""
    path.mkdir(parents=True)
    drawn = np.random.default_rng(seed)
    for number in range(files):
        lines = ["delay,carrier,distance,note,late"]
        for row in range(rows // files):
            delay = "NA" if drawn.random() < 0.1 else f"{drawn.normal(10, 20):.3f}"
            carrier = drawn.choice(["AA", "UA", "B6", "", "WN"])
            distance = f"{drawn.lognormal(6, 1):.1f}"
            late = "yes" if drawn.random() < 0.4 else "no"
            cells = [delay, str(carrier), distance, "x", late]
            lines.append(",".join(cells[:-1] if number == 0 and row < bad else cells))
        (path / f"part-{number}.csv").write_text("\n".join(lines) + "\n")
    return path


STEPS: list[dict[str, Any]] = [
    {"drop": {"columns": ["note"]}},
    {"impute": {"columns": ["delay"], "strategy": "Median", "indicator": True}},
    {"scale": {"columns": ["delay", "distance"], "method": "Standard"}},
    {"encode": {"columns": ["carrier"], "method": "OneHot", "unseen": "Ignore"}},
    {"encode": {"columns": ["late"], "method": "Classes"}},
]
COLUMNS = {"carrier": "Text", "note": "Text", "late": "Text"}


def prepared_job(source: Path, steps: Sequence[Mapping[str, Any]] = STEPS, **prepare: Any) -> TrainingJob:
    """A job whose data is made by these steps of the files in a folder."""
    data = {
        "source": str(source),
        "format": "csv",
        "batchSize": 8,
        "prepare": {"columns": COLUMNS, "target": "late", "steps": list(steps), **prepare},
    }
    return parse(document(data=data))


@dataclass
class PreparationRun:
    """A preparation by simulated preparers, begun again by as many drivers as it takes."""

    path: Path
    job: TrainingJob
    parts: Parts = field(default_factory=parts)
    faults: Mapping[int, Fault] = field(default_factory=dict)
    stops: Collection[int] = ()
    """Numbers of invocations at which all drivers end, as by a kill; what they have asked for goes on."""
    drivers: int = 1
    """Drivers that run at once."""
    hurry: float = 0.0
    seed: int = 0
    at_once: int = 2
    observer: Observer = field(default_factory=Observer)

    def __post_init__(self) -> None:
        self.store = open_store(str(self.path))
        self.session = Session(uid_of(self.job), self.job, self.store, self.path.as_uri())
        self.functions = Functions(self.store, self.seed, self.faults, self.hurry, preparers=self.parts)

    def run(self) -> PreparedData:
        """Prepare, whatever happens."""
        return virtual_loop.run(self._run(), expected=(InvocationError,))

    async def _run(self) -> PreparedData:
        resolved = self.session.settle()
        calls = itertools.count()
        stops = set(self.stops)
        store, functions = TappedStore(self.store), self.functions
        running: list[asyncio.Future[PreparedData]] = []

        class Stopping:
            """Passes invocations on, and at some of them ends the drivers."""

            async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
                if next(calls) in stops:
                    for each in running:
                        each.cancel()
                return await functions.invoke(role, request, seconds=seconds)

            async def close(self) -> None:
                await functions.close()

        while True:
            running[:] = [
                asyncio.ensure_future(
                    preparation.prepare(resolved, store, Stopping(), self.observer, at_once=self.at_once)
                )
                for _ in range(self.drivers)
            ]
            found = await asyncio.gather(*running, return_exceptions=True)
            for each in found:
                if isinstance(each, Exception):
                    raise each
            done = [each for each in found if isinstance(each, PreparedData)]
            if done:
                # What was asked for twice, or late, is done after the end, too.
                await asyncio.sleep(100)
                return done[0]

    def data(self) -> dict[str, str]:
        """The SHA-256 of every object of the data, by its key, without what is said of the source's files."""
        prefix = self.session.resolved.data_prefix
        root = self.path / prefix
        return {
            found.relative_to(root).as_posix(): hashlib.sha256(found.read_bytes()).hexdigest()
            for found in sorted(root.rglob("*"))
            if found.is_file() and found.name != "source.json"
        }


def raw_files(folder: Path) -> list[DataFile]:
    """The files of a folder."""
    return [local_file(path) for path in sorted(folder.iterdir())]
