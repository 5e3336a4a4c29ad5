"""Tables (CSV and Parquet): each row is a sample, one column or several are the targets, all others are features."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Literal, NoReturn, TextIO

import numpy as np
from pydantic import Field, model_validator

from sapflow.data.chunks import Chunk, Source, rows_per_chunk
from sapflow.data.data_file import DataFile
from sapflow.data.files import unpacked
from sapflow.data.options import Family, Options, parse
from sapflow.errors import DataError
from sapflow.tasks.classification import MAX_CLASSES


class TableOptions(Options):
    """`target` is a column's name or its number from 0 (negative numbers count from the end); `targets` are several
    of them. `classes` is the number of classes or their names."""

    target: int | str = -1
    targets: Annotated[list[int | str], Field(min_length=1)] | None = None
    task: Family | None = None
    classes: int | list[str] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "TableOptions":
        if self.targets is not None and "target" in self.model_fields_set:
            raise ValueError("target names one column, targets several: give one of the two")
        if self.targets is not None and len(self.targets) > 1 and self.classes is not None:
            raise ValueError("classes is for one target column: several are labels, 0 or 1, or values")
        if isinstance(self.classes, list):
            twice = [name for name, count in Counter(self.classes).items() if count > 1]
            if twice:
                raise ValueError(f"classes names {', '.join(map(repr, twice))} twice: each name is one class")
        return self

    def kind(self) -> str | None:
        """The family of tasks that is asked for."""
        return "classification" if isinstance(self.classes, list) else self.task

    def count(self) -> int | None:
        """The number of classes if it is given. Raises DataError."""
        count = len(self.classes) if isinstance(self.classes, list) else self.classes
        if count is not None and not 2 <= count <= MAX_CLASSES:
            raise DataError(f"options: classes: there can be 2 to {MAX_CLASSES} classes, not {count}")
        return count

    def columns(self, names: Sequence[str], origin: str) -> list[int]:
        """The targets' indices, in the order asked for. Raises DataError if there is no such column."""
        asked = [self.target] if self.targets is None else self.targets
        found = [_column_index(each, names, origin) for each in asked]
        if len(set(found)) < len(found):
            raise DataError(f"options: targets names a column of {origin} twice")
        return found


def _column_index(target: int | str, names: Sequence[str], origin: str) -> int:
    if isinstance(target, str) and target in names:
        return names.index(target)
    if isinstance(target, int) and -len(names) <= target < len(names):
        return target % len(names)
    raise DataError(f"{origin} has no column {target!r} for the target; its columns are {', '.join(names)}")


class CsvOptions(TableOptions):
    """With `header: Auto` the first row is a header unless all its cells are numbers."""

    header: Literal["Auto", "Present", "Absent"] = "Auto"
    delimiter: str = Field(",", min_length=1, max_length=1)


def csv_source(files: Sequence[DataFile], options: Mapping[str, object]) -> Source:
    """CSV files, gzipped or not. Without `task`, integers in the target's column are classes and other numbers are
    values. Raises DataError.
    """
    chosen = parse(CsvOptions, options, "the format csv")

    def chunks() -> Iterator[Chunk]:
        integral: bool | None = None
        for file in files:
            for chunk in _CsvFile(file, chosen).chunks():
                if integral is None:
                    integral = chunk.targets.dtype.kind == "i"
                # Later chunks follow the first: one whole number among values is a value.
                kept = chunk.targets if integral else chunk.targets.astype(np.float64)
                yield Chunk(chunk.features, kept, chunk.origin, chunk.row)

    return Source(files[0].name, chunks, task=chosen.kind(), classes=chosen.count())


class _CsvFile:
    """One CSV file being read."""

    def __init__(self, file: DataFile, options: CsvOptions) -> None:
        self._file, self._options = file, options
        self._names: list[str] = []
        self._targets: list[int] = []

    def chunks(self) -> Iterator[Chunk]:
        try:
            with unpacked(self._file) as raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as text:
                yield from self._read(text)
        except (UnicodeDecodeError, csv.Error, EOFError, OSError) as error:
            raise DataError(f"{self._file.name} is no readable CSV file: {error}") from error

    def _read(self, text: TextIO) -> Iterator[Chunk]:
        reader = csv.reader(text, delimiter=self._options.delimiter)
        rows: list[list[str]] = []
        lines: list[int] = []
        done, limit = 0, 1
        for row in reader:
            if not row:
                continue
            if not self._names:
                header = self._header(row)
                limit = rows_per_chunk((len(row),), 64, self._file.name)
                if header:
                    continue
            if len(row) != len(self._names):
                raise DataError(
                    f"{self._file.name}, line {reader.line_num}: {len(row)} cells where there are "
                    f"{len(self._names)} columns"
                )
            rows.append(row)
            lines.append(reader.line_num)
            if len(rows) == limit:
                yield self._chunk(rows, lines, done)
                done += len(rows)
                rows, lines = [], []
        if rows:
            yield self._chunk(rows, lines, done)

    def _header(self, row: list[str]) -> bool:
        present = self._options.header == "Present"
        if self._options.header == "Auto":
            present = not any(_number(cell) for cell in row)
        self._names = [cell.strip() for cell in row] if present else [str(index) for index in range(len(row))]
        if len(row) < 2:
            raise DataError(
                f"{self._file.name} has one column only; check the delimiter (options: delimiter)"
            )
        self._targets = self._options.columns(self._names, self._file.name)
        if len(self._targets) == len(self._names):
            raise DataError(f"{self._file.name}: all its columns are targets; a feature is needed")
        return present

    def _chunk(self, rows: list[list[str]], lines: list[int], done: int) -> Chunk:
        cells = [[row[index].strip() for index in self._targets] for row in rows]
        for index in sorted(self._targets, reverse=True):
            for row in rows:
                del row[index]
        try:
            features = np.array(rows, dtype=np.float64)
        except ValueError:
            self._refuse_features(rows, lines)
        if not np.isfinite(features).all():
            self._refuse_features(rows, lines)
        return Chunk(features, self._read_targets(cells, lines), self._file.name, done)

    def _read_targets(self, cells: list[list[str]], lines: list[int]) -> np.ndarray:
        """Targets [n], or [n, k] where k > 1 columns are targets."""
        if isinstance(self._options.classes, list):
            labels = [row[0] for row in cells]
            return _numbered(labels, self._options.classes, lambda i: f"{self._file.name}, line {lines[i]}")
        for dtype in (np.int64, np.float64):
            try:
                values = np.array(cells, dtype=dtype)
            except (ValueError, OverflowError):
                continue
            return values if len(self._targets) > 1 else values[:, 0]
        row, column = next(
            (i, j) for i, row in enumerate(cells) for j, cell in enumerate(row) if not _number(cell)
        )
        raise DataError(
            f"{self._file.name}, line {lines[row]}, column {self._names[self._targets[column]]}: the target "
            f"{cells[row][column]!r} is not a number; where it is a name, list all in options: classes"
        )

    def _refuse_features(self, rows: list[list[str]], lines: list[int]) -> NoReturn:
        names = [name for index, name in enumerate(self._names) if index not in self._targets]
        row, column = next(
            (i, j)
            for i, row in enumerate(rows)
            for j, cell in enumerate(row)
            if not _number(cell) or not np.isfinite(float(cell))
        )
        raise DataError(
            f"{self._file.name}, line {lines[row]}, column {names[column]}: {rows[row][column]!r} "
            "is not a finite number"
        )


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbered(labels: Sequence[object], names: list[str], where: Callable[[int], str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(names)}
    for index, label in enumerate(labels):
        if label not in numbers:
            raise DataError(
                f"{where(index)}: the label {label!r} is not in options: classes: {', '.join(names)}"
            )
    return np.array([numbers[str(label)] for label in labels], dtype=np.int32)


def parquet_source(files: Sequence[DataFile], options: Mapping[str, object]) -> Source:
    """Parquet files, read by row groups. Raises DataError, also if pyarrow is missing."""
    chosen = parse(TableOptions, options, "the format parquet")
    try:
        import pyarrow.parquet  # large, and of use for this format alone
    except ImportError as error:
        raise DataError(
            "the format parquet needs pyarrow, which is not installed: pip install 'sapflow[data]'"
        ) from error
    refused = (pyarrow.ArrowException, OSError)

    def chunks() -> Iterator[Chunk]:
        for file in files:
            with file.open() as stream:
                try:
                    table = pyarrow.parquet.ParquetFile(stream)
                    names = list(table.schema_arrow.names)
                except refused as error:
                    raise DataError(f"{file.name} is no readable Parquet file: {error}") from error
                targets = chosen.columns(names, file.name)
                rows = rows_per_chunk((len(names),), 16, file.name)
                done = 0
                batches = table.iter_batches(batch_size=rows)
                while True:
                    try:
                        batch = next(batches, None)
                    except refused as error:
                        raise DataError(f"{file.name} is corrupt after row {done}: {error}") from error
                    if batch is None:
                        break
                    columns = [
                        to_numpy(column, name, file.name, done)
                        for column, name in zip(batch.columns, names, strict=True)
                    ]
                    yield table_chunk(columns, targets, chosen, file.name, done)
                    done += batch.num_rows

    return Source(files[0].name, chunks, task=chosen.kind(), classes=chosen.count())


def to_numpy(column: "pyarrow.Array", name: str, origin: str, row: int) -> np.ndarray:  # type: ignore[name-defined]  # noqa: F821
    """A column of an Arrow table whose first row is `row`. Raises DataError where a value is missing."""
    if column.null_count:
        first = next(i for i, valid in enumerate(column.is_valid()) if not valid.as_py())
        raise DataError(f"{origin}, row {row + first} (the first is 0), column {name}: there is no value")
    return np.asarray(column.to_numpy(zero_copy_only=False))


def table_chunk(
    columns: list[np.ndarray], targets: list[int], options: TableOptions, origin: str, row: int
) -> Chunk:
    """Samples of a table's columns, those of the targets among them, from `row` on. Raises DataError."""
    chosen = [columns[index] for index in targets]
    columns = [column for index, column in enumerate(columns) if index not in targets]
    if len(chosen) > 1:
        for column in chosen:
            if column.dtype.kind not in "buif":
                text = f"a target column of type {column.dtype}; several targets must be numbers"
                raise DataError(f"{origin}: {text}")
    labels = np.stack(chosen, axis=1) if len(chosen) > 1 else chosen[0]
    if isinstance(options.classes, list):
        labels = _numbered(
            labels.tolist(), options.classes, lambda i: f"{origin}, row {row + i} (the first is 0)"
        )
    if not columns:
        raise DataError(f"{origin} has one column only; a target and a feature are needed")
    for column in columns:
        if column.dtype.kind not in "buif":
            raise DataError(f"{origin}: a column of type {column.dtype}; features must be numbers")
    return Chunk(np.stack(columns, axis=1), labels, origin, row)
