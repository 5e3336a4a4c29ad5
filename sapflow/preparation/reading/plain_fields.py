"""The typed columns of records in which nothing is quoted, by what all their bytes are at once.

Most numbers and times are written in the plainest way, and are read here. Where one is not, DuckDB says what it is: it
is given those values alone, so that both ways give the same columns.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sapflow.preparation.batch import Column, Kind, Text
from sapflow.preparation.reading import words
from sapflow.preparation.reading.csv_records import Records
from sapflow.preparation.reading.decimals import decimals
from sapflow.preparation.reading.field_bytes import FieldBytes
from sapflow.preparation.reading.plain_times import plain_times
from sapflow.preparation.reading.quoting import LF, Marks
from sapflow.preparation.reading.typed_fields import Notation, TypedFields

_FIELDS_AT_ONCE = 16_384
"""Fields whose numbers lie in the processor's cache while they are read."""
_TIMES = "M8[us]"
_NOT_A_TIME = np.iinfo(np.int64).min


class PlainFields:
    """Reads the records of texts with the same columns one after another. Close it."""

    def __init__(self, kinds: Sequence[Kind], notation: Notation, marks: Marks) -> None:
        """`kinds` are those of the columns as the text has them."""
        self._kinds, self._notation, self._marks = kinds, notation, marks
        self._missing = tuple(word.encode("utf-8", "surrogatepass") for word in notation.missing)
        self._others: dict[Kind, TypedFields] = {}

    def close(self) -> None:
        for each in self._others.values():
            each.close()

    def read(self, window: Sequence[Records]) -> tuple[list[Column], np.ndarray] | None:
        """The columns, and bool: where a value is none of its column's type; None where a record is not plain.

        Raises DataError.
        """
        if not window or not all(records.ends is not None and not records.wrong.any() for records in window):
            return None
        count = sum(map(len, window))
        numbers = np.empty((len(self._places("Number")), count))
        times = np.empty((len(self._places("Time")), count), np.int64)
        texts: list[list[Text]] = [[] for _ in self._places("Text")]
        bad = np.zeros(count, bool)
        at = 0
        for records in window:
            part = slice(at, at + len(records))
            self._read(records, numbers[:, part], times[:, part], texts, bad[part])
            at += len(records)
        waiting: dict[Kind, Iterator[Any]] = {
            "Number": iter(numbers),
            "Time": iter(times.view(_TIMES)),
            "Text": iter(texts),
        }
        columns: list[Column] = []
        for kind in self._kinds:
            column = next(waiting[kind])
            if isinstance(column, list):
                column = words.joined(column, self._notation.missing)
            columns.append(column)
        return columns, bad

    def _read(
        self,
        records: Records,
        numbers: np.ndarray,
        times: np.ndarray,
        texts: Sequence[list[Text]],
        bad: np.ndarray,
    ) -> None:
        """Read some records: their numbers into [columns of numbers, n], their times into [columns of times, n], their
        texts behind those of each column before, and into bool [n] where some value is none of its type."""
        assert records.ends is not None, "the caller has seen to it"
        low = int(records.begin[0])
        text = FieldBytes(records.text[low : int(records.stop[-1])])
        end = records.ends.T.astype(np.int64, order="C")
        end -= low
        begin = np.empty_like(end)
        begin[0] = records.begin - low
        begin[1:] = end[:-1] + 1
        self._typed("Number", text, begin, end, numbers, bad)
        self._typed("Time", text, begin, end, times, bad)
        for place, column in zip(self._places("Text"), texts, strict=True):
            column.append(self._text(text, begin[place], end[place]))

    def _places(self, kind: Kind) -> list[int]:
        return [place for place, each in enumerate(self._kinds) if each == kind]

    def _text(self, text: FieldBytes, begin: np.ndarray, end: np.ndarray) -> Text:
        length = end - begin
        return words.coded(text, begin, length, length > 0 if b"" in self._missing else None)

    def _typed(
        self,
        kind: Kind,
        text: FieldBytes,
        begin: np.ndarray,
        end: np.ndarray,
        found: np.ndarray,
        bad: np.ndarray,
    ) -> None:
        """Read the columns of numbers or of times, [columns, n], into `found`, and note bad rows."""
        places = self._places(kind)
        rows_at_once = max(1, _FIELDS_AT_ONCE // max(1, len(places)))
        number = kind == "Number"
        odd_begin, odd_length, odd_row, odd_place = [], [], [], []
        for first in range(0, len(bad) if places else 0, rows_at_once):
            rows = slice(first, first + rows_at_once)
            begins, ends = begin[places, rows].reshape(-1), end[places, rows].reshape(-1)
            values, plain = self._values(number, text, begins, ends)
            nothing = self._nothing(text, begins, ends - begins)
            values[nothing] = np.nan if number else _NOT_A_TIME
            found[:, rows] = values.reshape(len(places), -1)
            odd = np.flatnonzero(~(plain | nothing))
            if len(odd):
                odd_begin.append(begins[odd])
                odd_length.append(ends[odd] - begins[odd])
                count = len(values) // len(places)
                odd_row.append(first + odd % count)
                odd_place.append(odd // count)
        if odd_begin:
            starts, length, row, place = map(np.concatenate, (odd_begin, odd_length, odd_row, odd_place))
            values, wrong = self._odd(kind, text, starts, length)
            found[place, row] = values
            bad[row[wrong]] = True

    def _values(
        self, number: bool, text: FieldBytes, begin: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if number:
            return decimals(text, begin, end, ord(self._notation.decimal))
        if self._notation.time:
            return np.zeros(len(begin), np.int64), np.zeros(len(begin), bool)
        return plain_times(text, begin, end)

    def _nothing(self, text: FieldBytes, begin: np.ndarray, length: np.ndarray) -> np.ndarray:
        """bool [n]: the fields that stand for no value."""
        nothing = np.zeros(len(begin), bool)
        for word in self._missing:
            nothing |= text.equal(begin, length, word)
        return nothing

    def _odd(
        self, kind: Kind, text: FieldBytes, begin: np.ndarray, length: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The values of fields that are not plain, and bool: where one is none of its type."""
        wrong = length == 0
        values = np.full(len(begin), np.nan) if kind == "Number" else np.full(len(begin), _NOT_A_TIME)
        there = np.flatnonzero(~wrong)
        if len(there):
            if kind not in self._others:
                self._others[kind] = TypedFields([kind], self._notation, self._marks)
            written = text.joined(begin[there], length[there], LF)
            (column,), bad = self._others[kind].read(written, len(there))
            assert isinstance(column, np.ndarray), "numbers or times"
            values[there] = column.view(values.dtype)
            # What stands for no value is not among them.
            wrong[there] = bad
        return values, wrong
