"""The records of CSV files as batches of typed columns, with the rejected ones beside them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.errors import DataError
from sapflow.preparation.batch import Batch, Column, Kind, Origins, missing, taken
from sapflow.preparation.reading.csv_file import CsvFile, Head
from sapflow.preparation.reading.csv_options import CsvOptions
from sapflow.preparation.reading.csv_records import Records, windows
from sapflow.preparation.reading.plain_fields import PlainFields
from sapflow.preparation.reading.quoting import Marks
from sapflow.preparation.reading.reader import RAW_CHARACTERS, Parsed, Piece, Plan, Rejected
from sapflow.preparation.reading.typed_fields import Notation, TypedFields, describe, is_boundless

MAX_ORDERS = 4


class Fields:
    """Reads records of files with the same order of columns: plain ones as they stand, others by DuckDB. Close it."""

    def __init__(self, kinds: Sequence[Kind], notation: Notation, marks: Marks) -> None:
        self._kinds, self._notation, self._marks = kinds, notation, marks
        self._plain = PlainFields(kinds, notation, marks)
        self._typed: TypedFields | None = None

    def __enter__(self) -> "Fields":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._plain.close()
        if self._typed is not None:
            self._typed.close()

    def read(self, window: Sequence[Records]) -> tuple[list[Column], np.ndarray]:
        """The columns of the good records, and bool: where a value is none of its column's type. Raises DataError."""
        found = self._plain.read(window)
        if found is not None:
            return found
        if self._typed is None:
            self._typed = TypedFields(self._kinds, self._notation, self._marks)
        text = b"".join(records.canonical(self._marks) for records in window)
        return self._typed.read(text, sum(int(np.count_nonzero(records.wrong == 0)) for records in window))


class Tables:
    """Reads the files of a partition, those with the same order of columns by one `Fields`."""

    def __init__(self, plan: Plan, options: CsvOptions, partition: int) -> None:
        self._plan, self._options, self._partition = plan, options, partition
        self._kinds = {column.name: column.kind for column in plan.columns}
        self._fields: dict[tuple[str, ...], Fields] = {}

    def __enter__(self) -> "Tables":
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._fields.values():
            each.close()

    def of(self, file: CsvFile) -> "Table":
        """A file that is read. Raises DataError where its columns are not those of the plan."""
        header = bool(self._plan.notes["header"])
        head = file.head(header, self._kinds if header else ())
        order = _columns_of(file.file.name, head, tuple(self._kinds))
        if order not in self._fields:
            if len(self._fields) == MAX_ORDERS:
                self._fields.pop(next(iter(self._fields))).close()
            kinds = [self._kinds[name] for name in order]
            notation = self._options.notation(self._plan.missing)
            self._fields[order] = Fields(kinds, notation, self._options.marks)
        return Table(file, head, order, self._fields[order], self._plan, self._partition)


@dataclass(frozen=True, slots=True)
class Table:
    """The records of one file as columns. `order` has its columns as they stand in it."""

    file: CsvFile
    head: Head
    order: tuple[str, ...]
    fields: Fields
    plan: Plan
    partition: int

    def windows(self, piece: Piece, line: int) -> Iterator[list[Records]]:
        """The records of a piece of the file, which begins at a line, those of a batch at a time."""
        begin, line = (self.head.begin, self.head.line) if piece.begin == 0 else (piece.begin, line)
        text = self.file.text.pieces(begin, piece.end if self.file.text.can_be_cut else None)
        yield from windows(text, self.file.options.marks, self.head.width, line, self.file.file.name)

    def parsed(self, window: Sequence[Records], before: int) -> Parsed:
        """A batch of the window, before which the partition has so many rows."""
        columns, bad = self.fields.read(window)
        wrong = np.concatenate([records.wrong for records in window])
        good = np.flatnonzero(wrong == 0)
        rejected = [self._rejected(window, row, before) for row in np.flatnonzero(wrong).tolist()]
        for place in np.flatnonzero(bad).tolist():
            values = [taken(column, np.array([place])) for column in columns]
            rejected.append(self._rejected(window, int(good[place]), before, values))
        by_name = dict(zip(self.order, columns, strict=True))
        names = [column.name for column in self.plan.columns]
        found = {name: taken(by_name[name], ~bad) if bad.any() else by_name[name] for name in names}
        lines = np.concatenate([records.line for records in window])
        origins = Origins.of_file(self.file.file.name, before, lines)
        batch = Batch(found, before + good[~bad], self.partition, origins=origins)
        return Parsed(batch, tuple(sorted(rejected, key=lambda each: each.number)))

    def _rejected(
        self, window: Sequence[Records], row: int, before: int, values: Sequence[Column] | None = None
    ) -> Rejected:
        """A row of the window; `values` are what its columns have where the record as such is good."""
        at = row
        for records in window:
            if at < len(records):
                break
            at -= len(records)
        options, column = self.file.options, ""
        reason = records.reason(at, self.head.width, options.encoding)
        if values is not None:
            column, reason = self._unreadable(records.cells(at, options.marks), values)
        return Rejected(
            before + row,
            self.file.file.name,
            int(records.line[at]),
            column,
            reason,
            records.raw(at)[:RAW_CHARACTERS],
        )

    def _unreadable(self, cells: Sequence[str], values: Sequence[Column]) -> tuple[str, str]:
        """The first column whose value is not of its type, and the reason in words."""
        kinds = {column.name: column.kind for column in self.plan.columns}
        for name, cell, value in zip(self.order, cells, values, strict=True):
            kind = kinds[name]
            if kind == "Text" or cell in self.plan.missing:
                continue
            if missing(value)[0] or is_boundless(value)[0]:
                return (
                    name,
                    f"{cell[:80]!r} is not {describe(kind)}, and none of the texts in prepare.missing",
                )
        raise AssertionError("some value is not of its type")


def _columns_of(origin: str, head: Head, names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns in the order of a file. Raises DataError where they are not those of `names`."""
    if head.names is None:
        if head.width != len(names):
            raise DataError(
                f"{origin}: its first row has {head.width} fields where there are {len(names)} columns"
            )
        return names
    here, wanted = {*head.names}, {*names}
    lacks = [name for name in names if name not in here]
    has = [name for name in head.names if name not in wanted]
    if lacks or has:
        told = [f"lacks {', '.join(lacks[:5])}"] if lacks else []
        told += [f"has {', '.join(has[:5])} in addition"] if has else []
        raise DataError(
            f"{origin} {' and '.join(told)}, compared with the source's first file: files of one source have the same "
            "columns, in any order; rename, add or take out what differs"
        )
    return head.names
