"""The columns of Parquet files: what each is read as, and how SQL says so."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sapflow.errors import DataError
from sapflow.preparation.batch import Kind
from sapflow.preparation.reading.duck import name_of, quoted, time_of
from sapflow.preparation.reading.reader import PlannedColumn

_INTEGERS = frozenset(
    f"{sign}{size}" for sign in ("", "u") for size in ("tinyint", "smallint", "integer", "bigint")
)
_NUMBERS = frozenset({*_INTEGERS, "float", "double", "boolean"})
_TIMES = frozenset({"date", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"})
_ZONED = "timestamp with time zone"
_LISTS = ("list", "array")
_INDEX = re.compile(r"__index_level_\d+__$")
"""What pandas calls the columns in which it keeps a frame's index."""


@dataclass(frozen=True, slots=True)
class FileColumn:
    """A column of a file, or a field within one, by DuckDB's type. `sql` is how it is read."""

    name: str
    sql: str
    type: Any

    @property
    def id(self) -> str:
        return str(self.type.id)

    @property
    def kind(self) -> Kind | None:
        """What it is read as where nothing is declared; None: it must be declared."""
        if self.id in _NUMBERS or self.id in ("decimal", "hugeint", "uhugeint") or self._has_numbers:
            return "Number"
        if self.id in _TIMES or self.id == _ZONED:
            return "Time"
        if self.id == "blob":
            return "Image"
        return "Text" if self.id in ("varchar", "enum", "uuid", "null") else None

    @property
    def is_list(self) -> bool:
        return self.id in _LISTS

    @property
    def _has_numbers(self) -> bool:
        if not self.is_list:
            return False
        child = dict(self.type.children)["child"]
        return str(child.id) in _NUMBERS or str(child.id) == "decimal"

    def cast(self, column: PlannedColumn, missing: Sequence[str]) -> str:
        """SQL of its values as the planned column has them; null where a value is missing or none of that kind.
        Raises DataError where no value can be."""
        if column.kind == "Number" and self.is_list and self._has_numbers:
            return f"(CASE WHEN len({self.sql}) = {column.width} THEN CAST({self.sql} AS DOUBLE[]) END)"
        if column.width == 1 and not self.is_list:
            found = self._scalar(column.kind, missing)
            if found:
                return found
        raise DataError(
            f"column {self.name} holds {self.type}, which cannot be read as {column.kind}"
            + (f" of {column.width} values" if column.width > 1 else "")
            + ": declare another type in prepare.columns, or write the column as one"
        )

    def _scalar(self, kind: Kind, missing: Sequence[str]) -> str | None:
        text = self.text(missing)
        if kind == "Text":
            return text
        if kind == "Number":
            if self.id in _NUMBERS:
                return f"CAST({self.sql} AS DOUBLE)"
            if self.id in ("decimal", "hugeint", "uhugeint"):
                # The nearest float64: dividing by a power of ten would round twice.
                return f"CAST(CAST({self.sql} AS VARCHAR) AS DOUBLE)"
            return f"TRY_CAST({text} AS DOUBLE)" if self.id in ("varchar", "enum") else None
        if kind == "Time":
            if self.id == "timestamp_ns":
                # A cast would round to the nearest microsecond.
                nanoseconds = f"epoch_ns({self.sql})"
                return f"make_timestamp(({nanoseconds} - ({nanoseconds} % 1000 + 1000) % 1000) // 1000)"
            if self.id in _TIMES:
                return f"CAST({self.sql} AS TIMESTAMP)"
            if self.id == _ZONED:
                return self.sql
            return f"CAST({time_of(text)} AS TIMESTAMP)" if self.id in ("varchar", "enum") else None
        return self.sql if self.id == "blob" else None

    def text(self, missing: Sequence[str]) -> str:
        """SQL of its values as text; null where they are one of the missing ones."""
        text = f"CAST({self.sql} AS VARCHAR)"
        if self.id not in ("varchar", "enum") or not missing:
            return text
        return f"(CASE WHEN {text} NOT IN ({', '.join(map(quoted, missing))}) THEN {text} END)"

    def wrong(self, column: PlannedColumn, missing: Sequence[str]) -> str:
        """SQL that says whether there is a value, and none of the planned column's kind.

        An infinite number is none. NaN is none as a text; as a number it is a missing value.
        """
        cast = self.cast(column, missing)
        if column.kind != "Number" or self.is_list:
            none = f"{cast} IS NULL"
        elif self.id in ("varchar", "enum"):
            none = f"NOT coalesce(isfinite({cast}), false)"
        else:
            none = f"coalesce(isinf({cast}), true)"
        return f"({self.present(missing)} AND {none})"

    def present(self, missing: Sequence[str]) -> str:
        """SQL that says whether there is a value."""
        return f"({self.text(missing) if self.id in ('varchar', 'enum') else self.sql}) IS NOT NULL"


def flat(columns: Sequence[tuple[str, Any]]) -> list[FileColumn]:
    """The columns of a file, fields of a struct as columns of dotted names, without those of pandas' index."""
    found = [
        each
        for name, type in columns
        if not _INDEX.match(name)
        for each in _fields(name, name_of(name), type)
    ]
    names = [each.name for each in found]
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise DataError(f"the column {twice[0]!r} is there twice: rename one of them")
    return found


def _fields(name: str, sql: str, type: Any) -> Iterator[FileColumn]:
    if type.id != "struct":
        yield FileColumn(name, sql, type)
        return
    for field, inner in type.children:
        yield from _fields(f"{name}.{field}", f"{sql}.{name_of(field)}", inner)


def planned(
    columns: Sequence[FileColumn], declared: Mapping[str, Kind], widths: Mapping[str, int]
) -> list[PlannedColumn]:
    """What the columns are read as. `widths` are the lengths of lists. Raises DataError."""
    found = []
    for column in columns:
        kind = declared.get(column.name) or column.kind
        if kind is None:
            raise DataError(
                f"column {column.name} holds {column.type}, which is neither a number, a text, a time, an image nor a "
                f"list of numbers: declare it in prepare.columns ({column.name}: Text), or write the file without it"
            )
        one = PlannedColumn(
            name=column.name, kind=kind, width=widths.get(column.name, 1) if kind == "Number" else 1
        )
        column.cast(one, ())
        found.append(one)
    return found
