"""Cast: columns of numbers, text and times as one of the others."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar, Literal, cast

import numpy as np

from sapflow.preparation.batch import Batch, Column, Text, missing
from sapflow.preparation.numerals import numerals
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, ColumnType, Fitted, Schema, Step
from sapflow.preparation.steps.columns import resolve
from sapflow.preparation.steps.refusal import Refused, without
from sapflow.spec.preparation.table_steps import CastSpec

Type = Literal["Number", "Text", "Time"]
_NUMERAL = re.compile(r"\s*[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_SECONDS = 2.0**53 / 1e6
"""Numbers of seconds below this have microseconds that a float64 tells apart: about 285 years from 1970 on."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CastStep(Step):
    """Makes columns another type."""

    spec: CastSpec

    def begin(self, given: Schema) -> Fitted:
        return Cast(resolve(self.spec.columns, given, ("Number", "Text", "Time")), self.spec.type)


@dataclass(frozen=True, slots=True)
class Cast(Fitted):
    """Columns of one type. A value that cannot be one makes its row a bad row; what is missing stays missing."""

    name: ClassVar[str] = "cast"
    columns: tuple[str, ...]
    type: Type

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    @property
    def drops_rows(self) -> bool:
        return True

    def schema(self, given: Schema) -> Schema:
        return {**given, **{name: ColumnType(self.type) for name in self.columns if name in given}}

    def apply(self, batch: Batch) -> Applied:
        changed: dict[str, Column] = {}
        refused = []
        for name in self.columns:
            if name in batch.columns:
                column = batch.columns[name]
                changed[name] = _as(column, self.type)
                failed = missing(changed[name]) & ~missing(column)
                refused.append(Refused(name, f"cannot be a {self.type}", failed))
        return without(batch, batch.changed(changed), refused)

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "type": self.type})

    @classmethod
    def of_record(cls, record: Record) -> "Cast":
        return cls(tuple(record.notes["columns"]), cast(Type, record.notes["type"]))


def _as(column: Column, type: Type) -> Column:
    """The column as another type; missing where that cannot be."""
    if isinstance(column, Text):
        if type == "Text":
            return column
        return _of_words(column, _number, np.float64(np.nan)) if type == "Number" else _times_of_words(column)
    numbers = np.asarray(column)
    if numbers.dtype.kind == "M":
        return (
            numbers if type == "Time" else _seconds(numbers) if type == "Number" else _words_of_times(numbers)
        )
    return numbers if type == "Number" else numerals(numbers) if type == "Text" else _times(numbers)


def _of_words(column: Text, read: Callable[[str], float], nothing: np.float64) -> np.ndarray:
    """float64 [n]: each different word read once."""
    by_code = np.array([*map(read, column.words), nothing], np.float64)
    return np.asarray(by_code[column.codes])


def _number(word: str) -> float:
    if _NUMERAL.fullmatch(word) is None:
        return np.nan
    number = float(word)
    return number if np.isfinite(number) else np.nan


def _times_of_words(column: Text) -> np.ndarray:
    by_code = np.array([*map(_microseconds, column.words), np.iinfo(np.int64).min], np.int64)
    return np.asarray(by_code[column.codes].view("M8[us]"))


def _microseconds(word: str) -> int:
    """Microseconds since 1970 of an ISO 8601 text, in UTC if it names no zone."""
    try:
        found = datetime.fromisoformat(word.strip())
    except ValueError:
        return int(np.iinfo(np.int64).min)
    since = (found if found.tzinfo is not None else found.replace(tzinfo=UTC)) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _seconds(times: np.ndarray) -> np.ndarray:
    numbers = times.view(np.int64) / 1e6
    return np.asarray(np.where(np.isnat(times), np.nan, numbers))


def _times(seconds: np.ndarray) -> np.ndarray:
    fits = np.abs(seconds) < _SECONDS
    microseconds = np.rint(np.where(fits, seconds, 0.0) * 1e6).astype(np.int64)
    return np.where(fits, microseconds, np.iinfo(np.int64).min).view("M8[us]")


def _words_of_times(times: np.ndarray) -> Text:
    there = ~np.isnat(times)
    different, places = np.unique(times[there], return_inverse=True)
    codes = np.full(len(times), -1, np.int32)
    codes[there] = places
    return Text(codes, tuple(map(_shortest, np.datetime_as_string(different, unit="us").tolist())))


def _shortest(time: str) -> str:
    """ISO 8601 without a fraction that is 0."""
    return time.removesuffix(".000000")
