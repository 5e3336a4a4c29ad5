"""The typed columns of CSV text, by DuckDB.

It gets text alone in which every record has a field for each column, and all fields are read as text and then cast, so
that a value that is none of its type is found here, with its row, and not left to what DuckDB rejects by itself: its
lines count from the text's beginning, and it leaves out of a row all but the first reason.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sapflow.errors import DataError
from sapflow.preparation.batch import Column, Kind
from sapflow.preparation.reading.arrow_columns import columns_of
from sapflow.preparation.reading.duck import connect, quoted, time_of
from sapflow.preparation.reading.quoting import Marks

_BAD = "bad rows"


@dataclass(frozen=True, slots=True)
class Notation:
    """How values are written. `missing` are the texts for none."""

    missing: tuple[str, ...] = ("", "NA")
    decimal: str = "."
    thousands: str = ""
    time: str = ""
    """The pattern of times as strptime has it; empty: ISO 8601."""


class TypedFields:
    """Reads texts of the same columns one after another. Close it."""

    def __init__(self, kinds: Sequence[Kind], notation: Notation, marks: Marks) -> None:
        """`kinds` are those of the columns as the text has them."""
        self._kinds, self._notation, self._marks = kinds, notation, marks
        self._connection = connect()
        self._file = os.memfd_create("sapflow-records")

    def __enter__(self) -> "TypedFields":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        os.close(self._file)

    def read(self, text: bytes, rows: int) -> tuple[list[Column], np.ndarray]:
        """The columns [rows], and bool [rows]: where a value is none of its column's type.

        `text` is UTF-8 and has so many `rows`: records that are not empty, each ended by LF. Raises DataError.
        """
        import duckdb

        os.ftruncate(self._file, 0)
        written = 0
        while written < len(text):
            written += os.pwrite(self._file, memoryview(text)[written : written + (1 << 30)], written)
        try:
            found = columns_of(self._connection.sql(self._select(len(text))))
        except duckdb.Error as error:
            raise DataError(f"a table cannot be read: {error}") from error
        finally:
            os.ftruncate(self._file, 0)
        bad = found.pop(_BAD).booleans()
        if len(bad) != rows:
            raise DataError(
                f"{rows} records were read as {len(bad)} rows: please report this file as a bug of Sapflow"
            )
        columns: list[Column] = []
        for kind, name in zip(self._kinds, found, strict=True):
            column = found[name].column()
            if kind in ("Number", "Time"):
                bad |= found[name].valid() & is_boundless(column)
            columns.append(column)
        return columns, bad

    def _select(self, size: int) -> str:
        names = [f"c{number}" for number in range(len(self._kinds))]
        casts = [self._cast(name, kind) for name, kind in zip(names, self._kinds, strict=True)]
        wrong = [
            f"({name} IS NOT NULL AND {cast} IS NULL)"
            for name, cast in zip(names, casts, strict=True)
            if cast != name
        ]
        columns = ", ".join(f"{cast} AS {name}" for name, cast in zip(names, casts, strict=True))
        return (
            f'SELECT {columns}, {" OR ".join(wrong) or "false"} AS "{_BAD}" FROM read_csv('
            f"'/proc/self/fd/{self._file}', auto_detect = false, header = false, parallel = false, "
            f"strict_mode = true, compression = 'none', new_line = '\\n', "
            f"delim = {quoted(chr(self._marks.delimiter))}, "
            f"quote = {self._quote}, escape = {self._quote}, "
            f"columns = {{{', '.join(f'{name!r}: {_VARCHAR}' for name in names)}}}, "
            f"nullstr = [{', '.join(map(quoted, self._notation.missing))}], "
            f"max_line_size = {size + 1}, buffer_size = {size + 2})"
        )

    @property
    def _quote(self) -> str:
        return "''" if self._marks.quote is None else quoted(chr(self._marks.quote))

    def _cast(self, name: str, kind: Kind) -> str:
        if kind == "Time":
            if self._notation.time:
                return f"TRY_CAST(TRY_STRPTIME({name}, {quoted(self._notation.time)}) AS TIMESTAMPTZ)"
            return time_of(name)
        if kind != "Number":
            return name
        text, notation = name, self._notation
        if notation.thousands:
            sign, point = _pattern(notation.thousands), _pattern(notation.decimal)
            grouped = f"^\\s*[+-]?[0-9]{{1,3}}({sign}[0-9]{{3}})+({point}[0-9]*)?([eE][+-]?[0-9]+)?\\s*$"
            plain = f"CASE WHEN regexp_matches({text}, {quoted(grouped)}) THEN "
            text = f"({plain}replace({text}, {quoted(notation.thousands)}, '') ELSE {text} END)"
        if notation.decimal != ".":
            swapped = f"replace({text}, {quoted(notation.decimal)}, '.')"
            text = f"(CASE WHEN contains({text}, '.') THEN 'none' ELSE {swapped} END)"
        return f"TRY_CAST({text} AS DOUBLE)"


_VARCHAR = "'VARCHAR'"


def is_boundless(column: Column) -> np.ndarray:
    """bool [n] of numbers or times: words such as `nan` and `infinity`, which are neither."""
    assert isinstance(column, np.ndarray), "numbers or times"
    if column.dtype.kind == "f":
        return np.asarray(~np.isfinite(column))
    return np.asarray(np.abs(column.view(np.int64)) == np.iinfo(np.int64).max)


def _pattern(sign: str) -> str:
    return f"\\x{{{ord(sign):x}}}"


def describe(kind: Kind) -> str:
    """A kind in words, for the reason of a rejected row."""
    words: dict[Any, str] = {"Number": "a finite number", "Time": "a date or a time"}
    return words.get(kind, kind)
