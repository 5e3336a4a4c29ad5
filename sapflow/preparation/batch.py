"""Rows of a source as they go through the steps of a preparation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

BATCH_ROWS = 65_536
"""Rows of a batch, but for the last one of a partition. Sums are taken batch by batch, so bits follow from it."""

Kind = Literal["Number", "Text", "Time", "Image"]
"""What a source's column may be declared as."""


@dataclass(frozen=True, slots=True)
class Text:
    """A column of text, each different word once: row r has `words[codes[r]]`, and is missing where its code is -1.

    `codes` is int32 [n]. Words come in any order, and some may be in no row.
    """

    codes: np.ndarray
    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def of(cls, values: Iterable[str | None]) -> "Text":
        """The column of these values; None is missing."""
        places: dict[str, int] = {}
        codes = [-1 if each is None else places.setdefault(each, len(places)) for each in values]
        return cls(np.array(codes, np.int32), tuple(places))

    def values(self) -> list[str | None]:
        """Every row's word; None where it is missing."""
        return [None if code < 0 else self.words[code] for code in self.codes.tolist()]

    def take(self, rows: np.ndarray) -> "Text":
        """Some rows: by a mask or by numbers."""
        return Text(self.codes[rows], self.words)


@dataclass(frozen=True, slots=True)
class Blobs:
    """A column of bytes, such as encoded images. None is missing."""

    values: tuple[bytes | None, ...]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> "Blobs":
        """Some rows: by a mask or by numbers."""
        numbers = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Blobs(tuple(self.values[number] for number in numbers.tolist()))


Column: TypeAlias = np.ndarray | Text | Blobs
"""Of numbers: float64 [n], or [n, k] of a step that makes k features of a column, uint8 where they are 0 and 1 alone;
NaN is missing. Of times:
datetime64[us] [n] in UTC; NaT is missing. Of images: uint8 or float32 [n, height, width, channels]. Of tokens: int32
[n, length]."""


@dataclass(frozen=True, slots=True)
class Origins:
    """Where rows of a partition come from, in stretches: within one, each row is one line further than the one before.

    In formats without lines, the rows of a file count from 1.
    """

    begins: np.ndarray
    """int64 [m], increasing: the number within the partition of each stretch's first row."""
    lines: np.ndarray
    """int64 [m]: that row's line in its file."""
    files: Text
    """[m]: the names of the files."""

    @classmethod
    def of_file(cls, file: str, first: int, lines: np.ndarray) -> "Origins":
        """Of consecutive rows of a file, from number `first` of the partition on; `lines` is int64 [rows]."""
        begins = np.flatnonzero(np.diff(lines, prepend=lines[:1] - 2) != 1)
        return cls(first + begins, lines[begins], Text(np.zeros(len(begins), np.int32), (file,)))

    @classmethod
    def counted(cls, file: str, first: int, row: int) -> "Origins":
        """The same, where rows have no lines; `row` is the place of the first one in the file, from 0."""
        return cls.of_file(file, first, np.array([row + 1]))

    def of(self, number: int) -> tuple[str, int]:
        """The file and the line of the row of a number."""
        place = int(np.searchsorted(self.begins, number, side="right")) - 1
        line = int(self.lines[place]) + number - int(self.begins[place])
        return self.files.words[self.files.codes[place]], line


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of a partition, less those that were dropped."""

    columns: Mapping[str, Column]
    """In their order; all of the same length."""
    numbers: np.ndarray
    """int64 [n], increasing: each row's number within its partition, from 0, dropped and bad rows counted too."""
    partition: int = 0
    held: np.ndarray | None = None
    """bool [n]: the rows for validation; None before rows were dealt to parts."""
    origins: Origins | None = None
    """Of all rows that there were, those that are left out, too. None of rows that come from no file."""

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: np.ndarray) -> "Batch":
        """Some rows: by a mask or by increasing indexes."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return replace(
            self,
            columns={name: taken(column, rows) for name, column in self.columns.items()},
            numbers=self.numbers[rows],
            held=None if self.held is None else self.held[rows],
        )

    def part(self, first: int, stop: int) -> "Batch":
        """The rows from number `first` up to number `stop`; arrays are views."""
        rows = slice(first, stop)
        return replace(
            self,
            columns={name: _part(column, rows) for name, column in self.columns.items()},
            numbers=self.numbers[rows],
            held=None if self.held is None else self.held[rows],
        )

    def changed(self, columns: Mapping[str, Column]) -> "Batch":
        """The batch with these columns in place of those of their names; new ones come last."""
        return replace(self, columns={**self.columns, **columns})

    def without(self, names: Iterable[str]) -> "Batch":
        """The batch without some columns."""
        left_out = set(names)
        return replace(
            self, columns={name: column for name, column in self.columns.items() if name not in left_out}
        )


def taken(column: Column, rows: np.ndarray) -> Column:
    """Some rows of a column: by a mask or by indexes."""
    if isinstance(column, Text | Blobs):
        return column.take(rows)
    return np.asarray(column[rows])


def _part(column: Column, rows: slice) -> Column:
    if isinstance(column, Text):
        return Text(column.codes[rows], column.words)
    return Blobs(column.values[rows]) if isinstance(column, Blobs) else column[rows]


def missing(column: Column) -> np.ndarray:
    """bool [n]: where a column of numbers, times, text or bytes has nothing."""
    if isinstance(column, Text):
        return column.codes < 0
    if isinstance(column, Blobs):
        return np.array([each is None for each in column.values], bool)
    if column.dtype.kind == "M":
        return np.isnat(column)
    if column.dtype.kind == "f":
        return np.asarray(np.isnan(column))
    return np.zeros(len(column), bool)
