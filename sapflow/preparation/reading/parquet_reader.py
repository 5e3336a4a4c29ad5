"""Parquet files: cut at row groups, and read with types that are fixed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sapflow.data.data_file import DataFile
from sapflow.data.options import Options, parse
from sapflow.errors import DataError
from sapflow.preparation.batch import BATCH_ROWS, Batch, Column, Origins, taken
from sapflow.preparation.reading import column_types
from sapflow.preparation.reading.arrow_columns import Columns, batches_of
from sapflow.preparation.reading.duck import connect, name_of
from sapflow.preparation.reading.hive import HiveColumns, hive_columns
from sapflow.preparation.reading.parquet_columns import FileColumn, flat, planned
from sapflow.preparation.reading.parquet_file import ParquetFile, RowGroup, opened
from sapflow.preparation.reading.pieces import grouped
from sapflow.preparation.reading.reader import (
    PARTITION_BYTES,
    RAW_CHARACTERS,
    Asked,
    Parsed,
    Piece,
    Plan,
    PlannedColumn,
    Reader,
    Rejected,
)

BATCH_BYTES = 16 << 20
"""A batch has fewer rows where so many have more bytes than this, by the row groups' sizes."""
ALL = 1 << 31
"""The end of a piece that is all row groups of a file."""
_ROW, _BAD = "file_row_number", "bad rows"


class ParquetOptions(Options):
    """Parquet says of itself how it is written."""


class ParquetReader(Reader):
    """Reads Parquet. Only files that are larger than a partition are opened by the survey, and the first."""

    format = "parquet"

    def survey(self, files: Sequence[DataFile], asked: Asked) -> Plan:
        parse(ParquetOptions, asked.options, "the format parquet")
        hive = hive_columns(files, asked.columns)
        with connect() as connection:
            with opened(files[0], connection) as first:
                columns = flat(first.columns())
                if both := [name for name in hive.names if name in {each.name for each in columns}]:
                    raise DataError(
                        f"the column {both[0]!r} is in the files and in the names of their folders: rename it"
                    )
                names = [*(each.name for each in columns), *hive.names]
                column_types.refuse_unknown(asked.columns, names, files[0].name)
                found = planned(columns, asked.columns, _widths(first, columns))
            pieces, sizes = [], []
            for number, file in enumerate(files):
                for piece, size in _pieces(number, file, connection):
                    pieces.append(piece)
                    sizes.append(size)
        found += [PlannedColumn(name=name, kind=kind) for name, kind in hive.kinds(asked.columns).items()]
        return Plan(
            format=self.format,
            columns=tuple(found),
            partitions=grouped(pieces, sizes),
            missing=tuple(asked.missing),
            notes={"hive": list(hive.names)},
        )

    def batches(self, files: Sequence[DataFile], plan: Plan, number: int, first: int = 0) -> Iterator[Parsed]:
        hive = hive_columns(files, plan.notes["hive"])
        batch = rows = 0
        with connect() as connection:
            for piece in plan.partitions[number].pieces:
                with opened(files[piece.file], connection) as file:
                    groups = file.row_groups()[piece.begin : piece.end]
                    size = _batch_rows(groups)
                    total = sum(group.rows for group in groups)
                    count = math.ceil(total / size)
                    skipped = min(max(0, first - batch), count)
                    if skipped < count:
                        file.fetch(groups)
                        table = _table(file, plan, hive, number)
                        yield from table.batches(groups, size, skipped, rows)
                    batch, rows = batch + count, rows + total


@dataclass(frozen=True, slots=True)
class _Table:
    """One file as a table of the planned columns."""

    file: ParquetFile
    here: Mapping[str, FileColumn]
    hive: HiveColumns
    plan: Plan
    partition: int

    def batches(self, groups: Sequence[RowGroup], size: int, skipped: int, before: int) -> Iterator[Parsed]:
        """The rows of consecutive row groups, less some batches. `before`: rows of the partition before these."""
        import duckdb

        begin, end = groups[0].first, groups[-1].first + groups[-1].rows
        at = begin + skipped * size
        # What DuckDB hands over at once are many rows, so large ones are asked for batch by batch.
        step = end - at if size == BATCH_ROWS else size
        try:
            for low in range(at, end, max(1, step)):
                for columns in batches_of(self.file.relation(self._select(low, min(end, low + step))), size):
                    parsed = self._parsed(columns, at, before + at - begin)
                    at += len(parsed.batch) + len(parsed.rejected)
                    yield parsed
        except duckdb.Error as error:
            raise self.file.unreadable(error) from error
        if at != end:
            raise DataError(
                f"{self.file.file.name} has {at - begin} rows where its footer says {end - begin}: it is corrupt"
            )

    def _select(self, low: int, high: int) -> str:
        columns, missing = self._planned(), self.plan.missing
        casts = [f"{self.here[each.name].cast(each, missing)} AS {name_of(each.name)}, " for each in columns]
        wrong = [self.here[each.name].wrong(each, missing) for each in columns]
        rows = _rows_between(self.file, low, high)
        return f'SELECT {"".join(casts)}{" OR ".join(wrong) or "false"} AS "{_BAD}" {rows}'

    def _planned(self) -> list[PlannedColumn]:
        return [each for each in self.plan.columns if each.name not in self.hive.names]

    def _parsed(self, found: Columns, row: int, number: int) -> Parsed:
        """A batch that begins at a row of the file, which is that number of the partition's."""
        bad = found[_BAD].booleans()
        columns: dict[str, Column] = {}
        for each in self.plan.columns:
            if each.name in self.hive.names:
                columns[each.name] = self.hive.column(self.file.file, each.name, each.kind, len(bad))
                continue
            column = found[each.name].column()
            if isinstance(column, np.ndarray) and column.ndim == 2:
                bad |= np.isinf(column).any(axis=1)
            columns[each.name] = column
        rejected = [self._rejected(row + place, number + place) for place in np.flatnonzero(bad).tolist()]
        kept = {name: taken(column, ~bad) if bad.any() else column for name, column in columns.items()}
        origins = Origins.counted(self.file.file.name, number, row)
        batch = Batch(kept, number + np.flatnonzero(~bad), self.partition, origins=origins)
        return Parsed(batch, tuple(rejected))

    def _rejected(self, row: int, number: int) -> Rejected:
        columns, missing = self._planned(), self.plan.missing
        asked = []
        for each in columns:
            here = self.here[each.name]
            asked += [here.wrong(each, missing), f"left(CAST({here.sql} AS VARCHAR), {RAW_CHARACTERS})"]
        (values,) = self.file.rows_of(f"SELECT {', '.join(asked)} {_rows_between(self.file, row, row + 1)}")
        told = list(zip(columns, values[::2], values[1::2], strict=True))
        vectors = [each for each in told if each[0].width > 1]
        column, _, value = next((each for each in told if each[1]), vectors[0] if vectors else told[0])
        return Rejected(
            number, self.file.file.name, row + 1, column.name, _reason(column, str(value)), str(value)
        )


def _rows_between(file: ParquetFile, low: int, high: int) -> str:
    """SQL that reads the rows of these numbers. Row groups without any of them are not touched."""
    return (
        f"FROM read_parquet('{file.path}', hive_partitioning = false, file_row_number = true) "
        f"WHERE {_ROW} >= {low} AND {_ROW} < {high}"
    )


def _table(file: ParquetFile, plan: Plan, hive: HiveColumns, partition: int) -> _Table:
    """A file as a table. Raises DataError where its columns are not those of the plan."""
    here = {each.name: each for each in flat(file.columns())}
    names = {each.name: None for each in plan.columns if each.name not in hive.names}
    lacks, has = [each for each in names if each not in here], [each for each in here if each not in names]
    if lacks or has:
        told = [f"lacks {', '.join(lacks[:5])}"] if lacks else []
        told += [f"has {', '.join(has[:5])} in addition"] if has else []
        raise DataError(
            f"{file.file.name} {' and '.join(told)}, compared with the source's first file: files of one source have "
            "the same columns, in any order; rename, add or take out what differs"
        )
    return _Table(file, here, hive, plan, partition)


def _reason(column: PlannedColumn, value: str) -> str:
    if column.width > 1:
        return f"{value[:80]} is no list of {column.width} finite numbers"
    if value.startswith("["):
        return f"{value[:80]} is no list of one finite number, as the column's first one is"
    words: dict[Any, str] = {"Number": "a finite number", "Time": "a date or a time"}
    return f"{value[:80]!r} is not {words.get(column.kind, column.kind)}"


def _widths(file: ParquetFile, columns: Sequence[FileColumn]) -> dict[str, int]:
    """The length of the first list of each column of lists. Raises DataError where there is none."""
    lists = [each for each in columns if each.is_list]
    groups = file.row_groups()[:1]
    if lists:
        file.fetch(groups)
    found = {}
    for each in lists:
        rows = sum(group.rows for group in groups)
        width = file.rows_of(
            f"SELECT len({each.sql}) {_rows_between(file, 0, rows)} AND {each.sql} IS NOT NULL LIMIT 1"
        )
        if not width or not width[0][0]:
            raise DataError(
                f"column {each.name} has no list with numbers in the first row group, so its length is unknown"
            )
        found[each.name] = int(width[0][0])
    return found


def _pieces(number: int, file: DataFile, connection: Any) -> Iterator[tuple[Piece, int]]:
    """The pieces of a file with their sizes in bytes."""
    if not file.size:
        return
    if file.size <= PARTITION_BYTES:
        yield Piece(file=number, begin=0, end=ALL), file.size
        return
    with opened(file, connection) as parquet:
        groups = parquet.row_groups()
    begin = size = 0
    for place, group in enumerate(groups):
        here = group.end - group.begin
        if size and size + here > PARTITION_BYTES:
            yield Piece(file=number, begin=begin, end=place), size
            begin, size = place, 0
        size += here
    if groups:
        yield Piece(file=number, begin=begin, end=len(groups)), size


def _batch_rows(groups: Sequence[RowGroup]) -> int:
    rows, size = sum(group.rows for group in groups), sum(group.unpacked for group in groups)
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // size)) if rows and size else BATCH_ROWS
