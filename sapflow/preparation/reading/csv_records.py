"""The records of CSV text one after another, in windows that are one batch each.

What is wrong with a record as such is found here, exactly and for every division of the text into pieces, so what reads
the fields (`typed_fields`) gets records alone that have a field for each column.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sapflow.errors import DataError
from sapflow.preparation.batch import BATCH_ROWS
from sapflow.preparation.reading.plain_layout import layout_of
from sapflow.preparation.reading.quoting import (
    CR,
    INSIDE,
    LF,
    OUTSIDE,
    Marks,
    Runs,
    line_ends,
    plain,
    quote_runs,
)

WINDOW_BYTES = 16 << 20
"""A batch ends before the record with which it would have more text than this."""
MAX_RECORD_BYTES = 16 << 20
UNCLOSED = (
    "most likely a quotation mark is opened and not closed; mend it, or say options: quote: '' if quotation marks are "
    "text"
)

_GOOD, _FIELDS, _AFTER_QUOTE, _UNCLOSED, _ENCODING = range(5)


@dataclass(frozen=True, slots=True)
class Records:
    """Consecutive records, empty lines left out. All arrays are int64 [records]."""

    text: np.ndarray
    """uint8: UTF-8, each record with a byte after it."""
    begin: np.ndarray
    stop: np.ndarray
    """Where its text ends, before the newline."""
    line: np.ndarray
    """Where it begins, from 1."""
    fields: np.ndarray
    wrong: np.ndarray
    """What is wrong with it; 0: nothing."""
    escaped: bool
    """Whether some character stands behind an escape."""
    ends: np.ndarray | None = None
    """int32 [records, width], where each field ends; None unless the text is plain and all records have all fields."""

    def __len__(self) -> int:
        return len(self.begin)

    def some(self, first: int, stop: int) -> "Records":
        """The records from number `first` on, up to number `stop`."""
        picked = slice(first, stop)
        return Records(
            self.text,
            self.begin[picked],
            self.stop[picked],
            self.line[picked],
            self.fields[picked],
            self.wrong[picked],
            self.escaped,
            None if self.ends is None else self.ends[picked],
        )

    def raw(self, number: int) -> str:
        """A record's text."""
        data = self.text[self.begin[number] : self.stop[number]].tobytes()
        return data.decode("utf-8", "replace")

    def cells(self, number: int, marks: Marks) -> list[str]:
        """A record's fields."""
        return next(reader_of(io.StringIO(self.raw(number), newline=""), marks), [])

    def counts_differ(self, number: int) -> bool:
        """Whether nothing else is wrong with a record but the number of its fields."""
        return int(self.wrong[number]) == _FIELDS

    def reason(self, number: int, width: int, encoding: str) -> str:
        """What is wrong with a record, in words; empty if nothing is."""
        return {
            _GOOD: "",
            _FIELDS: f"{self.fields[number]} fields where there are {width} columns",
            _AFTER_QUOTE: "there is text after a closing quotation mark",
            _UNCLOSED: "a quotation mark is opened and not closed before the file ends",
            _ENCODING: f"it is not in {encoding} (options: encoding)",
        }[int(self.wrong[number])]

    def canonical(self, marks: Marks) -> bytes:
        """The text of the records that have nothing wrong, each ended by LF."""
        good = self.wrong == _GOOD
        if self.escaped:
            return self._rewritten(np.flatnonzero(good), marks)
        begin, stop = self.begin[good], self.stop[good]
        if not len(begin):
            return b""
        low, high = int(begin[0]), int(stop[-1]) + 1
        joined = np.array_equal(begin[1:], stop[:-1] + 1)
        if joined and not np.any(self.text[stop] != LF):
            return bytes(memoryview(self.text)[low:high])
        edges = np.zeros(high - low + 1, np.int8)
        edges[begin - low] = 1
        # A record may begin right behind the byte after another one.
        edges[stop + 1 - low] -= 1
        kept = np.cumsum(edges[:-1], dtype=np.int8).view(bool)
        text: np.ndarray = self.text[low:high][kept]
        text[np.cumsum(stop + 1 - begin) - 1] = LF
        return text.tobytes()

    def _rewritten(self, numbers: np.ndarray, marks: Marks) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.writer(
            text,
            delimiter=chr(marks.delimiter),
            quotechar=chr(marks.quote if marks.quote is not None else ord('"')),
            quoting=csv.QUOTE_ALL,
            lineterminator="\n",
        )
        for number in numbers.tolist():
            writer.writerow(self.cells(number, marks))
        return text.getvalue().encode()


def windows(
    pieces: Iterable[bytes], marks: Marks, width: int, line: int, name: str, most: int | None = None
) -> Iterator[list[Records]]:
    """The records of UTF-8 text that begins at a record, as its pieces come: those of a batch at a time.

    A batch is `most` records (None: BATCH_ROWS), or fewer that have WINDOW_BYTES. `line` is the first one's. Raises
    DataError where a record is too long, which names the file and the line.
    """
    full, window = most or BATCH_ROWS, list[Records]()
    rows = size = 0
    for found in _analysed(pieces, marks, width, line, name):
        first = 0
        lengths = np.cumsum(found.stop - found.begin)
        while first < len(found):
            passed = int(lengths[first - 1]) if first else 0
            fitting = int(np.searchsorted(lengths, WINDOW_BYTES - size + passed, side="right"))
            stop = min(fitting, first + full - rows)
            if not rows:
                stop = max(stop, first + 1)
            if stop > first:
                window.append(found.some(first, stop))
                rows += stop - first
                size += int(lengths[stop - 1]) - passed
            if stop < len(found):
                yield window
                window, rows, size = [], 0, 0
            first = stop
    if window:
        yield window


def first_record(pieces: Iterable[bytes], marks: Marks, name: str) -> Records | None:
    """The first record of UTF-8 text, whose places are those of the text; None if there is none. Raises DataError where
    it is too long."""
    held = b""
    for piece in pieces:
        held += piece
        found, _, _ = _records(held[: _place_to_stop(held, marks)], marks, 0, 1, last=False)
        if len(found):
            return found.some(0, 1)
        if len(held) > MAX_RECORD_BYTES:
            raise DataError(
                f"{name}: its first record does not end within {MAX_RECORD_BYTES >> 20} MiB; mend it"
            )
    found, _, _ = _records(held, marks, 0, 1, last=True)
    return found.some(0, 1) if len(found) else None


def _analysed(pieces: Iterable[bytes], marks: Marks, width: int, line: int, name: str) -> Iterator[Records]:
    held = b""
    for piece in pieces:
        held += piece
        stop = _place_to_stop(held, marks)
        found, used, lines = _records(held[:stop], marks, width, line, last=False)
        if len(held) - used > MAX_RECORD_BYTES:
            raise DataError(
                f"{name}, line {line + lines}: the record that begins there has more than "
                f"{MAX_RECORD_BYTES >> 20} MiB: {UNCLOSED}"
            )
        if len(found):
            yield found
        held, line = held[used:], line + lines
    found, _, _ = _records(held, marks, width, line, last=True)
    if len(found):
        yield found


def _place_to_stop(data: bytes, marks: Marks) -> int:
    """The last place of `data` before which everything is known without what follows."""
    special = {CR, marks.quote, marks.escape} - {None}
    at = len(data)
    while at and (data[at - 1] in special or (at > 1 and data[at - 2] == marks.escape)):
        at -= 1
    return at


def _records(text: bytes, marks: Marks, width: int, line: int, *, last: bool) -> tuple[Records, int, int]:
    """The records of `text`, which begins at one and where it is not the `last` ends where `_place_to_stop` says; how
    many of its bytes they take, and how many lines."""
    layout = layout_of(text, marks, width, last=last) if width else None
    given = np.frombuffer(text, np.uint8)
    if layout is not None:
        count = len(layout.begin)
        records = Records(
            np.append(given, np.uint8(LF)) if last else given,
            layout.begin,
            layout.ends[:, -1].astype(np.int64),
            line + layout.lines,
            np.full(count, width),
            np.zeros(count, np.int64),
            False,
            layout.ends,
        )
        return records, layout.used, layout.newlines
    data = plain(given, marks)
    every = line_ends(given) if len(given) else np.empty(0, np.int64)
    ends = every if data is given else line_ends(data)
    runs = quote_runs(data, LF, marks, OUTSIDE)
    ends = ends[runs.state_at(ends, OUTSIDE) == OUTSIDE] if len(runs.begin) else ends
    used = int(ends[-1]) + 1 if len(ends) else 0
    begin = np.concatenate([np.zeros(1, np.int64), ends + 1])
    stop = np.append(ends, len(data))
    two = np.flatnonzero((ends > begin[:-1]) & (data[ends] == LF) & (data[ends - 1] == CR))
    stop[two] -= 1
    full = stop > begin
    if not last:
        full[-1] = False
    begin, stop = begin[full], stop[full]
    wrong = np.zeros(len(begin), np.int64)
    fields = _field_counts(data, runs, stop, marks)
    wrong[fields != width] = _FIELDS
    wrong[_owners(_texts_after(data, runs, marks), begin, stop)] = _AFTER_QUOTE
    if last and len(begin) and len(runs.after) and runs.after[-1] == INSIDE:
        wrong[-1] = _UNCLOSED
    if not text.isascii():
        wrong[_undecodable(text[: len(data) if last else used], begin, stop)] = _ENCODING
    if last:
        given = np.append(given, np.uint8(LF))
    lines = line + np.searchsorted(every, begin)
    records = Records(
        given,
        begin,
        stop,
        lines,
        fields,
        wrong,
        data is not given and bool((data != given[: len(data)]).any()),
    )
    return records, len(data) if last else used, int(np.searchsorted(every, used))


def _field_counts(data: np.ndarray, runs: Runs, stop: np.ndarray, marks: Marks) -> np.ndarray:
    """How many fields each record has; `stop` is where they end."""
    delimiters = data == marks.delimiter
    if len(runs.begin):
        edges = np.zeros(len(data), np.int8)
        change = runs.after.astype(np.int8) - runs.before.astype(np.int8)
        edges[runs.begin] = change
        delimiters &= np.cumsum(edges, dtype=np.int8) == OUTSIDE
    # Between two records stand newlines alone, so what is before one's end and not before the last one's is its own.
    before = np.searchsorted(np.flatnonzero(delimiters), stop)
    return np.asarray(np.diff(before, prepend=0) + 1)


def _texts_after(data: np.ndarray, runs: Runs, marks: Marks) -> np.ndarray:
    """Where something else than a delimiter or a newline follows the mark that closes a field."""
    if not len(runs.begin):
        return runs.begin
    odd = runs.length % 2 == 1
    closes = np.where(runs.before == INSIDE, odd, runs.opening & ~odd)
    after = (runs.begin + runs.length)[closes]
    after = after[after < len(data)]
    following = data[after]
    return np.asarray(after[(following != marks.delimiter) & (following != LF) & (following != CR)])


def _owners(places: np.ndarray, begin: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The numbers of the records that these places are in."""
    numbers = np.searchsorted(begin, places, side="right") - 1
    inside = (numbers >= 0) & (places < stop[numbers]) if len(begin) else np.zeros(len(places), bool)
    return np.asarray(numbers[inside])


def _undecodable(text: bytes, begin: np.ndarray, stop: np.ndarray) -> list[int]:
    """The numbers of the records that are no UTF-8."""
    found: list[int] = []
    at = 0
    view = memoryview(text)
    while True:
        try:
            str(view[at:], "utf-8")
        except UnicodeDecodeError as error:
            number = int(np.searchsorted(begin, at + error.start, side="right")) - 1
            found.append(number)
            at = int(stop[number])
        else:
            return found


def reader_of(lines: Iterable[str], marks: Marks) -> Any:  # csv's own type has no public name
    """Python's reader of this kind of text."""
    if marks.quote is None:
        return csv.reader(lines, delimiter=chr(marks.delimiter), quoting=csv.QUOTE_NONE)
    return csv.reader(
        lines,
        delimiter=chr(marks.delimiter),
        quotechar=chr(marks.quote),
        escapechar=None if marks.escape is None else chr(marks.escape),
    )
