"""The columns that a model takes, and how values of requests become them, with the types of its training."""

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np

from sapflow.preparation.batch import Blobs, Column, Kind, Text
from sapflow.serving.refusal import BadRow, shown

_NUMERAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = int(np.iinfo(np.int64).min)
T = TypeVar("T")
Values = Sequence[object]
"""Of one column, a value for each row: what JSON, CSV or a tensor of bytes has. None is missing."""


@dataclass(frozen=True, slots=True)
class Notation:
    """How values are written as text. `missing` are the texts for none."""

    missing: frozenset[str] = frozenset({""})
    decimal: str = "."
    thousands: str = ""
    time: str = ""
    """The pattern of times as strptime has it; empty: ISO 8601."""


@dataclass(frozen=True, slots=True)
class InputColumn:
    """A column that a model takes."""

    name: str
    kind: Kind
    shape: tuple[int, ...] = ()
    """Of one value: () of a number, text, time or encoded image; (k,) of vectors; that of decoded images."""
    needed: bool = True
    """Whether a request must have it: features follow from it."""
    least: float = math.nan
    most: float = math.nan
    """The range of training, of numbers; not a number where it is not known."""
    seen: frozenset[str] | None = None
    """The texts of training; None where they are not known."""

    def read(self, values: Values, notation: Notation, bad: list[BadRow]) -> Column:
        """The column of these values. What cannot be one is noted among the bad rows, and missing."""
        if self.kind == "Text":
            return _texts(self, values, notation, bad)
        if self.kind == "Time":
            found = [_each(self, value, row, notation, bad, _time) for row, value in enumerate(values)]
            return np.array([_NEVER if each is None else each for each in found], np.int64).view("M8[us]")
        if self.kind == "Image" and not self.shape:
            return Blobs(
                tuple(_each(self, value, row, notation, bad, _bytes) for row, value in enumerate(values))
            )
        if self.shape:
            return _arrays(self, values, bad)
        return _numbers(self, values, notation, bad)

    def of_array(self, array: np.ndarray, bad: list[BadRow]) -> Column:
        """The column of an array of numbers with a row for each row; not a number is missing."""
        if self.kind == "Text":
            notation = Notation()
            return self.read([None if each != each else each for each in array.tolist()], notation, bad)
        if self.kind == "Image":
            as_bytes = array.dtype == np.uint8
            return array.reshape(len(array), *self.shape) if as_bytes else _arrays(self, array.tolist(), bad)
        found = array.reshape(len(array), *self.shape).astype(np.float64)
        infinite = np.isinf(found).reshape(len(found), -1).any(axis=1)
        bad += [BadRow(row, self.name, "is infinite") for row in np.flatnonzero(infinite).tolist()]
        return found


def _numbers(column: InputColumn, values: Values, notation: Notation, bad: list[BadRow]) -> np.ndarray:
    if all(type(value) is float or type(value) is int for value in values):
        try:
            found = np.array(values, np.float64)
        except OverflowError:
            found = np.full(len(values), np.inf)
        if np.isfinite(found).all():
            return found

    def read(value: object, how: Notation) -> float:
        number = _number(value, how)
        if math.isinf(number):
            raise ValueError("is not finite")
        return number

    each = (_each(column, value, row, notation, bad, read) for row, value in enumerate(values))
    return np.array([math.nan if number is None else number for number in each], np.float64)


def _number(value: object, notation: Notation) -> float:
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if isinstance(value, str):
        text = value.strip()
        if notation.thousands:
            text = text.replace(notation.thousands, "")
        if notation.decimal != ".":
            text = "" if "." in text else text.replace(notation.decimal, ".")
        if _NUMERAL.fullmatch(text):
            return float(text)
    raise ValueError(f"{shown(value)} is not a number")


def _texts(column: InputColumn, values: Values, notation: Notation, bad: list[BadRow]) -> Text:
    def read(value: object, _: Notation) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{shown(value)} is not a text")
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        return repr(value)

    return Text.of(_each(column, value, row, notation, bad, read) for row, value in enumerate(values))


def _time(value: object, notation: Notation) -> int:
    """Microseconds since 1970, in UTC if the text names no zone."""
    if isinstance(value, str):
        text = value.strip()
        try:
            if notation.time:
                found = datetime.strptime(text, notation.time)
            elif text[4:5] == "-":
                found = datetime.fromisoformat(text)
            else:
                raise ValueError
            since = (found if found.tzinfo is not None else found.replace(tzinfo=UTC)) - _EPOCH
            return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        except (ValueError, OverflowError):
            pass
    wanted = f"as {notation.time}" if notation.time else "as 2013-01-31T08:15:00Z"
    raise ValueError(f"{shown(value)} is not a date or a time, {wanted}")


def _bytes(value: object, _: Notation) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            pass
    raise ValueError("is not an encoded image: give the file's bytes in base64")


def _each(
    column: InputColumn,
    value: object,
    row: int,
    notation: Notation,
    bad: list[BadRow],
    read: Callable[[object, Notation], T],
) -> T | None:
    if (
        value is None
        or value != value
        or (isinstance(value, str) and value in notation.missing)
        or value == b""
    ):
        return None
    try:
        return read(value, notation)
    except ValueError as error:
        bad.append(BadRow(row, column.name, str(error)))
        return None


def _arrays(column: InputColumn, values: Values, bad: list[BadRow]) -> np.ndarray:
    """The column of vectors or decoded images, of nested lists."""
    pixels = column.kind == "Image"
    nothing = np.full(column.shape, 0 if pixels else np.nan)
    rows: list[np.ndarray] = []
    for row, value in enumerate(values):
        array = nothing
        if value is not None:
            try:
                array = np.array(value, np.float64)
                if array.shape != column.shape:
                    raise ValueError
            except (ValueError, TypeError, OverflowError):
                wanted = " × ".join(map(str, column.shape))
                bad.append(BadRow(row, column.name, f"is no list of {wanted} numbers"))
                array = nothing
        elif pixels:
            bad.append(BadRow(row, column.name, "there is no image"))
        rows.append(array)
    found = np.array(rows, np.float64).reshape(len(rows), *column.shape)
    if pixels:
        outside = ((found < 0) | (found > 255)).reshape(len(rows), -1).any(axis=1)
        bad += [
            BadRow(row, column.name, "has pixels that are not from 0 to 255")
            for row in np.flatnonzero(outside).tolist()
        ]
        return np.where(outside.reshape(-1, *(1,) * len(column.shape)), 0, found).astype(np.uint8)
    infinite = np.isinf(found).reshape(len(rows), -1).any(axis=1)
    bad += [BadRow(row, column.name, "has an infinite number") for row in np.flatnonzero(infinite).tolist()]
    return found


def by_name(columns: Sequence[InputColumn]) -> Mapping[str, InputColumn]:
    """The columns by their names."""
    return {each.name: each for each in columns}
