"""CSV files, gzipped or not, read row by row: each row is a sample."""

import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Literal, NoReturn

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sapflow.data import labels
from sapflow.data.chunks import Chunk, Source, rows_per_chunk
from sapflow.data.data_file import DataFile
from sapflow.data.files import unpacked
from sapflow.data.formats.columns import Columns, SetColumns, TableOptions
from sapflow.data.formats.header import PEEK, is_header, is_number
from sapflow.data.group_split import digests
from sapflow.data.options import parse
from sapflow.errors import DataError

Header = Literal["Auto", "Present", "Absent"]
Kind = Literal["whole", "number", "word"]


class CsvOptions(TableOptions):
    """`header: Auto` decides by the first row and those after it (`header.is_header`)."""

    header: Header = "Auto"
    delimiter: str = Field(",", min_length=1, max_length=1)

    @property
    def dialect(self) -> "Dialect":
        return Dialect(header=self.header, delimiter=self.delimiter)


class Dialect(BaseModel):
    """How a CSV file is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    header: Header = "Auto"
    delimiter: str = Field(",", min_length=1, max_length=1)


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a file: their cells as they are there, and their lines in the file from 1."""

    file: str
    names: tuple[str, ...] | None
    """The columns' names; None where the file has no header."""
    width: int
    cells: list[list[str]]
    lines: list[int]
    first: int
    """The first row's number in the file, from 0, without the header."""

    def where(self, index: int) -> str:
        return f"{self.file}, line {self.lines[index]}"

    def name(self, place: int) -> str:
        return str(place) if self.names is None else self.names[place]


def csv_source(
    files: Sequence[DataFile], options: Mapping[str, object], training: Source | None = None
) -> Source:
    """CSV files of one set; `training`: the source of the samples for training, where these are for validation.

    Raises DataError.
    """
    chosen = parse(CsvOptions, options, "the format csv")
    columns = SetColumns(None if training is None else training.table)

    def chunks() -> Iterator[Chunk]:
        kind: Kind | None = None
        for file in files:
            first = columns.first
            known = {*chosen.named_columns, *(first.names if first is not None and first.named else ())}
            here: Columns | None = None
            for rows in read(file, chosen.dialect, known):
                if here is None:
                    here = columns.of_file(rows.names, rows.width, chosen, file.name)
                targets, kind = _targets(rows, here, chosen, kind)
                yield Chunk(
                    numbers(rows, here.features),
                    targets,
                    file.name,
                    rows.first,
                    columns=(columns.first or here).feature_names,
                    groups=_groups(rows, here),
                )

    return chosen.source(
        files[0].name,
        chunks,
        table=columns,
    )


def _groups(rows: Rows, columns: Columns) -> np.ndarray | None:
    place = columns.group
    if place is None:
        return None
    cells = [row[place].strip() for row in rows.cells]
    if "" in cells:
        raise DataError(f"{rows.where(cells.index(''))}, column {rows.name(place)}: there is no group")
    return digests(cells)


def read(file: DataFile, dialect: Dialect, known: Collection[str]) -> Iterator[Rows]:
    """The rows of a file, a few at a time. `known` are names that a header may have. Raises DataError."""
    try:
        with unpacked(file) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as text:
            yield from _read(csv.reader(text, delimiter=dialect.delimiter), file.name, dialect.header, known)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file.name} is no readable CSV file, because it is not in UTF-8: {error}; save it in that encoding"
        ) from error
    except (csv.Error, EOFError, OSError) as error:
        raise DataError(f"{file.name} is no readable CSV file: {error}") from error


def _read(
    reader: Any,  # csv's own type has no public name
    origin: str,
    header: Header,
    known: Collection[str],
) -> Iterator[Rows]:
    lines = ((reader.line_num, row) for row in reader if row)
    ahead = list(islice(lines, 1 + PEEK))
    if not ahead:
        return
    first, *body = ([cell.strip() for cell in row] for _, row in ahead)
    present = header == "Present" or (header == "Auto" and is_header(first, body, known, origin))
    names = tuple(first) if present else None
    limit = rows_per_chunk((len(first),), 64, origin)
    rest = chain(ahead[1:] if present else ahead, lines)
    done = 0
    while some := list(islice(rest, limit)):
        for line, row in some:
            if len(row) != len(first):
                raise DataError(
                    f"{origin}, line {line}: {len(row)} cells where there are {len(first)} columns"
                )
        yield Rows(origin, names, len(first), [row for _, row in some], [line for line, _ in some], done)
        done += len(some)


def numbers(rows: Rows, places: Sequence[int]) -> np.ndarray:
    """The numbers in these columns, float64 [rows, places]. Raises DataError, which names a cell's line and column."""
    picked: Sequence[Sequence[str]]
    if list(places) == list(range(rows.width)):
        picked = rows.cells
    elif len(places) == 1:
        picked = [[row[places[0]]] for row in rows.cells]
    else:
        picked = list(map(itemgetter(*places), rows.cells))
    try:
        found = np.array(picked, dtype=np.float64)
    except ValueError:
        _refuse(rows, places)
    if not np.isfinite(found).all():
        _refuse(rows, places)
    return found


def _refuse(rows: Rows, places: Sequence[int]) -> NoReturn:
    index, place = next(
        (index, place)
        for index, row in enumerate(rows.cells)
        for place in places
        if not is_number(row[place]) or not np.isfinite(float(row[place]))
    )
    cell = rows.cells[index][place]
    raise DataError(f"{rows.where(index)}, column {rows.name(place)}: {cell!r} is not a finite number")


def _targets(
    rows: Rows, columns: Columns, options: CsvOptions, kind: Kind | None
) -> tuple[np.ndarray, Kind | None]:
    """Targets [n], or [n, k] where k > 1 columns are targets, and what they are.

    Later rows follow the first ones, whose kind was `kind`: one whole number among values is a value.
    """
    cells = [[row[place].strip() for place in columns.targets] for row in rows.cells]
    if options.class_names:
        return labels.numbered(np.array([row[0] for row in cells]), options.class_names, rows.where), None
    if kind in (None, "whole", "number"):
        for dtype in (np.int64, np.float64):
            try:
                values = np.array(cells, dtype=dtype)
            except (ValueError, OverflowError):
                continue
            found: Kind = "whole" if dtype is np.int64 else "number"
            kept = values.astype(np.float64) if kind == "number" else values
            return (kept if len(columns.targets) > 1 else kept[:, 0]), kind or found
    number = [is_number(cell) for row in cells for cell in row]
    if kind != "word" and (len(columns.targets) > 1 or any(number) or kind is not None):
        bad = number.index(False)
        index, column = divmod(bad, len(columns.targets))
        raise DataError(
            f"{rows.where(index)}, column {rows.name(columns.targets[column])}: the target {cells[index][column]!r} "
            "is not a number, and others are; where all are names of classes, list them in options: classes"
        )
    words = [row[0] for row in cells]
    if "" in words:
        place = columns.targets[0]
        raise DataError(f"{rows.where(words.index(''))}, column {rows.name(place)}: there is no label")
    return np.array(words), "word"
