"""Folders of images: a row a file, with the folder it is in as its label, or the columns of a table that names it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from sapflow.data.data_file import DataFile
from sapflow.data.options import Options, parse
from sapflow.data.source_files import IMAGES
from sapflow.errors import DataError
from sapflow.preparation.batch import Batch, Blobs, Column, Origins, Text, taken
from sapflow.preparation.reading import column_types
from sapflow.preparation.reading.csv_reader import CsvReader
from sapflow.preparation.reading.parquet_reader import ParquetReader
from sapflow.preparation.reading.reader import (
    PARTITION_BYTES,
    Asked,
    Parsed,
    Partition,
    Piece,
    Plan,
    PlannedColumn,
    Reader,
    Rejected,
)

IMAGE, LABEL = "image", "label"
BATCH_BYTES = 16 << 20
MAX_FILES = 4096
"""Files of a partition."""
MAX_TABLE_BYTES = 64 << 20


class ImageOptions(Options):
    """`table` is the name of a CSV or Parquet file in the source whose `column` names the images; its other columns are
    theirs. Without it the folder in which an image lies is its label."""

    table: Annotated[str, Field(max_length=1024)] = ""
    column: Annotated[str, Field(max_length=1024)] = "file"


class ImageReader(Reader):
    """Reads image files as they are; the step `image` decodes them."""

    format = "images"

    def survey(self, files: Sequence[DataFile], asked: Asked) -> Plan:
        options = parse(ImageOptions, asked.options, "the format images")
        images = _images(files)
        if not images:
            raise DataError(f"the source holds no images: their names end in {', '.join(IMAGES)}")
        columns = [PlannedColumn(name=IMAGE, kind="Image")]
        notes: dict[str, Any] = {}
        if options.table:
            declared = {name: kind for name, kind in asked.columns.items() if name != IMAGE}
            table = _survey_table(_table_file(files, options.table), options, declared, asked.missing)
            columns += [each for each in table.columns if each.name != options.column]
            notes["table"] = table.model_dump(mode="json")
        elif len({_folder(files[number]) for number in images}) > 1:
            columns.append(PlannedColumn(name=LABEL, kind="Text"))
        names = [each.name for each in columns]
        column_types.refuse_unknown(asked.columns, names, "the source")
        for each in columns[: 1 if options.table else None]:
            if asked.columns.get(each.name, each.kind) != each.kind:
                raise DataError(
                    f"prepare.columns: {each.name} of images is of type {each.kind}: leave it out"
                )
        return Plan(
            format=self.format,
            columns=tuple(columns),
            partitions=tuple(_partitions(files, images)),
            options=options.model_dump(),
            missing=tuple(asked.missing),
            notes=notes,
        )

    def batches(self, files: Sequence[DataFile], plan: Plan, number: int, first: int = 0) -> Iterator[Parsed]:
        (piece,) = plan.partitions[number].pieces
        options = ImageOptions.model_validate(plan.options)
        images = [each for each in _images(files) if piece.begin <= each < piece.end]
        rows = _Table(files, plan, options) if options.table else None
        before = 0
        for place, some in enumerate(_batches(files, images)):
            if place >= first:
                yield _parsed([files[each] for each in some], rows, plan, before, number)
            before += len(some)


class _Table:
    """The columns that a table has for images."""

    def __init__(self, files: Sequence[DataFile], plan: Plan, options: ImageOptions) -> None:
        table = Plan.model_validate(plan.notes["table"])
        file = _table_file(files, options.table)
        self.name = file.name
        self._parts: list[Mapping[str, Column]] = []
        self._places: dict[str, tuple[int, int]] = {}
        reader = _reader_of(file.name)
        for number in range(len(table.partitions)):
            for parsed in reader.batches([file], table, number):
                if parsed.rejected:
                    bad = parsed.rejected[0]
                    raise DataError(f"{bad.file}, line {bad.line}, column {bad.column}: {bad.reason}")
                names = parsed.batch.columns[options.column]
                assert isinstance(names, Text), "declared as text"
                self._places |= {
                    name: (len(self._parts), row)
                    for row, name in enumerate(names.values())
                    if name is not None
                }
                self._parts.append(parsed.batch.columns)

    def row(self, file: DataFile) -> Mapping[str, Column] | None:
        """The row that names a file, by the end of its path, its name, or its name without the ending."""
        parts = file.name.split("/")
        names = ["/".join(parts[at:]) for at in range(len(parts))] + [parts[-1].rpartition(".")[0]]
        place = next((self._places[name] for name in names if name in self._places), None)
        if place is None:
            return None
        part, row = place
        return {name: taken(column, np.array([row])) for name, column in self._parts[part].items()}


def _parsed(
    files: Sequence[DataFile], table: _Table | None, plan: Plan, before: int, partition: int
) -> Parsed:
    names = [each.name for each in plan.columns if each.name != IMAGE]
    rows: list[Mapping[str, Column]] = []
    kept: list[int] = []
    rejected = []
    for place, file in enumerate(files):
        row: Mapping[str, Column] | None = (
            {LABEL: Text.of([_folder(file)])} if table is None else table.row(file)
        )
        if row is None:
            assert table is not None, "a folder is always there"
            reason = f"no row of {table.name} names it (options: column)"
            rejected.append(Rejected(before + place, file.name, 1, "", reason, file.base))
        else:
            rows.append(row)
            kept.append(place)
    columns: dict[str, Column] = {IMAGE: Blobs(tuple(_bytes(files[place]) for place in kept))}
    for name in names:
        columns[name] = _joined([row[name] for row in rows], plan.types[name].kind)
    every = before + np.arange(len(files))
    origins = Origins(every, np.ones(len(files), np.int64), Text.of(file.name for file in files))
    batch = Batch(columns, before + np.array(kept, np.int64), partition, origins=origins)
    return Parsed(batch, tuple(rejected))


def _joined(cells: Sequence[Column], kind: str) -> Column:
    """Columns of one row each as one column."""
    if kind == "Text":
        return Text.of([cell.values()[0] for cell in cells if isinstance(cell, Text)])
    empty = np.empty(0, "datetime64[us]" if kind == "Time" else np.float64)
    return np.concatenate([cell for cell in cells if isinstance(cell, np.ndarray)] or [empty])


def _bytes(file: DataFile) -> bytes:
    with file.open() as stream:
        data = stream.read()
    if len(data) != file.size:
        raise DataError(f"{file.name} has {len(data)} bytes where it had {file.size}: it was changed")
    return data


def _images(files: Sequence[DataFile]) -> list[int]:
    return [number for number, file in enumerate(files) if file.name.lower().endswith(IMAGES)]


def _folder(file: DataFile) -> str:
    return file.name.rpartition("/")[0].rpartition("/")[2]


def _partitions(files: Sequence[DataFile], images: Sequence[int]) -> Iterator[Partition]:
    """Consecutive images, up to PARTITION_BYTES and MAX_FILES."""
    begin, count, size = 0, 0, 0
    for number in images:
        if count and (size + files[number].size > PARTITION_BYTES or count == MAX_FILES):
            yield Partition(pieces=(Piece(file=begin, begin=begin, end=number),))
            begin, count, size = number, 0, 0
        count, size = count + 1, size + files[number].size
    yield Partition(pieces=(Piece(file=begin, begin=begin, end=len(files)),))


def _batches(files: Sequence[DataFile], images: Sequence[int]) -> Iterator[list[int]]:
    """Images of a batch: up to BATCH_BYTES, at least one."""
    some: list[int] = []
    size = 0
    for number in images:
        if some and size + files[number].size > BATCH_BYTES:
            yield some
            some, size = [], 0
        some.append(number)
        size += files[number].size
    if some:
        yield some


def _reader_of(name: str) -> Reader:
    return ParquetReader() if name.endswith(".parquet") else CsvReader()


def _table_file(files: Sequence[DataFile], name: str) -> DataFile:
    found = [file for file in files if file.name == name or file.name.endswith(f"/{name}")]
    if len(found) != 1:
        raise DataError(
            f"options: table: {len(found)} files of the source are called {name!r}; name one of them"
        )
    if found[0].size > MAX_TABLE_BYTES:
        raise DataError(
            f"{found[0].name} has more than {MAX_TABLE_BYTES >> 20} MiB: a table of images must be smaller"
        )
    return found[0]


def _survey_table(
    file: DataFile, options: ImageOptions, declared: Mapping[str, Any], missing: Sequence[str]
) -> Plan:
    """The plan of a table, in which the column of file names is text. Raises DataError where it has none."""
    header = {} if file.name.endswith(".parquet") else {"header": "Present"}
    table = _reader_of(file.name).survey([file], Asked(header, {**declared, options.column: "Text"}, missing))
    if table.to_scan:
        table = table.model_copy(
            update={
                "partitions": (Partition(pieces=(Piece(file=0, begin=0, end=file.size),)),),
                "to_scan": (),
            }
        )
    if any(each.name == IMAGE and options.column != IMAGE for each in table.columns):
        raise DataError(f"{file.name} has a column {IMAGE!r}, which is that of the images: rename it")
    return table
