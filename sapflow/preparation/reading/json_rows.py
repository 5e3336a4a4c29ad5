"""Lines of JSON as rows of typed columns, strictly: what a column cannot hold is told with its line, by msgspec."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from sapflow.preparation.batch import Column, Text, taken
from sapflow.preparation.reading.reader import PlannedColumn

_AT = re.compile(r" - at `\$\.?([^`]*)`$")
_STRINGS = re.compile(rb'"([^"]*+)"(\s*+:)?')
_UNKNOWN = re.compile(r"unknown field `(.*)`")
Path = tuple[str, ...]
"""A column's names from the outermost object inwards."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """Why a line is no row."""

    column: str
    reason: str


@dataclass
class _Node:
    """An object of the rows: the column or the object within it by each field's name."""

    inner: dict[str, "_Node | int"] = field(default_factory=dict)


class RowDecoder:
    """Makes rows of lines. Columns of times come as text."""

    def __init__(
        self, columns: Sequence[PlannedColumn], paths: Sequence[Path], missing: Sequence[str], *, ignore: bool
    ) -> None:
        """`paths` are the columns'. `ignore`: whether fields that are no column are passed over."""
        import msgspec  # of use for JSON alone

        self._columns, self._paths, self._missing = columns, paths, frozenset(missing)
        root = _Node()
        for number, path in enumerate(paths):
            node = root
            for name in path[:-1]:
                inner = node.inner.setdefault(name, _Node())
                assert isinstance(inner, _Node), "a path is no column's and an object's at once"
                node = inner
            node.inner[path[-1]] = number
        self._places: dict[int, tuple[str, ...]] = {}
        self._decoder = msgspec.json.Decoder(self._struct(root, (), ignore=ignore))
        self._error = msgspec.MsgspecError

    def _struct(self, node: _Node, place: tuple[str, ...], *, ignore: bool) -> Any:
        """The type of an object whose fields are those of a node."""
        import msgspec

        fields = []
        for at, (name, inner) in enumerate(node.inner.items()):
            attribute = f"f{at}"
            if isinstance(inner, _Node):
                kind = self._struct(inner, (*place, attribute), ignore=ignore) | None
            else:
                self._places[inner] = (*place, attribute)
                kind = _type_of(self._columns[inner])
            fields.append((attribute, kind, msgspec.field(default=None, name=name)))
        return msgspec.defstruct("Row", fields, forbid_unknown_fields=not ignore, gc=False)

    def rows(self, lines: Sequence[bytes]) -> tuple[list[Column], np.ndarray, dict[int, BadLine]]:
        """The columns of the good lines, their numbers (int64), and what is wrong with the others by their numbers."""
        decode, wrong = self._decoder.decode, self._error
        rows, numbers = [], []
        bad: dict[int, BadLine] = {}
        for number, line in enumerate(lines):
            try:
                row = decode(line)
            except wrong as error:
                bad[number] = self._told(str(error))
                continue
            if (twice := field_given_twice(line)) is not None:
                bad[number] = BadLine(
                    "", f"the field {twice[:80]!r} is given twice in one object: keep one of them"
                )
                continue
            rows.append(row)
            numbers.append(number)
        columns: list[Column] = []
        good = np.ones(len(rows), bool)
        for place, column in enumerate(self._columns):
            found, none = self._column(column, [self._value(row, place) for row in rows], numbers, bad)
            columns.append(found)
            good &= ~none
        if not good.all():
            columns = [taken(column, good) for column in columns]
        return columns, np.array(numbers, np.int64)[good], bad

    def _value(self, row: Any, place: int) -> Any:
        return reduce(
            lambda held, name: None if held is None else getattr(held, name), self._places[place], row
        )

    def _column(
        self, column: PlannedColumn, values: list[Any], numbers: list[int], bad: dict[int, BadLine]
    ) -> tuple[Column, np.ndarray]:
        """A column, and bool [n]: where its value is none of its kind, which `bad` then tells."""
        missing, none = self._missing, np.zeros(len(values), bool)

        def refuse(row: int, reason: str) -> None:
            none[row] = True
            bad.setdefault(numbers[row], BadLine(column.name, reason))

        if column.kind != "Number":
            words = [None if value is None or value in missing else _word(value) for value in values]
            return Text.of(words), none
        if column.width > 1:
            vectors = np.full((len(values), column.width), np.nan)
            for row, value in enumerate(values):
                if value is not None and len(value) != column.width:
                    refuse(row, f"a list of {len(value)} numbers where others have {column.width}")
                elif value is not None:
                    vectors[row] = [np.nan if each is None else each for each in value]
            return vectors, none
        for row, value in enumerate(values):
            if isinstance(value, str):
                if value not in missing:
                    refuse(
                        row, f"the text {value[:80]!r} is no number, and none of the texts in prepare.missing"
                    )
                values[row] = None
        return np.array([np.nan if value is None else value for value in values], np.float64), none

    def _told(self, message: str) -> BadLine:
        """What msgspec says of a line."""
        at = _AT.search(message)
        reason = _AT.sub("", message)
        column = re.sub(r"\[.*", "", at[1]) if at else ""
        if unknown := _UNKNOWN.search(reason):
            name = ".".join(filter(None, (column, unknown[1])))
            return BadLine(
                "",
                f"the field {name} is no column (declare it in prepare.columns, or say options: unknown: Ignore)",
            )
        return BadLine(column, reason[0].lower() + reason[1:] if not reason.startswith("JSON") else reason)


def field_given_twice(line: bytes) -> str | None:
    """The first name that an object of a line of JSON has twice; None if there is none."""
    if b"\\" not in line:
        # All strings of the line, one after another; a colon follows the names.
        names = [name for name, colon in _STRINGS.findall(line) if colon]
        if len(set(names)) == len(names):
            return None
    found: list[str] = []

    def check(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            found.append(next(name for name, count in Counter(names).items() if count > 1))

    json.loads(line, object_pairs_hook=check, parse_int=str, parse_float=str)
    return found[0] if found else None


def _type_of(column: PlannedColumn) -> Any:
    if column.kind == "Number":
        return list[float | None] | None if column.width > 1 else float | bool | str | None
    return str | None if column.kind == "Time" else str | int | float | bool | None


def _word(value: object) -> str:
    """A value as text, as JSON writes it."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else repr(value)


def paths_of(rows: Sequence[Mapping[str, Any]], declared: Sequence[str]) -> dict[str, Path]:
    """The columns of some rows by their dotted names: fields of objects within objects, in the order they first come.
    A declared column that no row has is one by its name."""
    found: dict[str, Path] = {}

    def add(value: Any, path: Path) -> None:
        if isinstance(value, dict) and ".".join(path) not in declared:
            for name, inner in value.items():
                add(inner, (*path, name))
        elif path:
            found.setdefault(".".join(path), path)

    for row in rows:
        add(row, ())
    # Where a field is an object in one row and null in another, its own name is no column.
    objects = {path[:size] for path in found.values() for size in range(1, len(path))}
    found = {name: path for name, path in found.items() if path not in objects}
    for name in declared:
        found.setdefault(name, tuple(name.split(".")))
    return found
