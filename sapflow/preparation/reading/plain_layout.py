"""Where the records and fields of CSV text are if nothing in it is quoted or escaped: each mark is what it is."""

from dataclasses import dataclass

import numpy as np

from sapflow.preparation.reading.quoting import CR, LF, Marks

_CACHED_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class PlainLayout:
    """The records of plain text, which have a field for each column."""

    begin: np.ndarray
    """int64 [records]: where each begins; empty lines are none."""
    ends: np.ndarray
    """int32 [records, width]: where each field ends, before its delimiter or newline."""
    lines: np.ndarray
    """int64 [records]: the number of lines before each."""
    used: int
    """The bytes that records, and empty lines, take."""
    newlines: int


def layout_of(text: bytes, marks: Marks, width: int, *, last: bool) -> PlainLayout | None:
    """The records that end in `text`, which begins at one; if it is the `last`, one may end where it does.

    None where anything is quoted, escaped or no UTF-8, a line ends by CR, or a record has other than `width` fields.
    """
    special = [each for each in (CR, marks.quote, marks.escape) if each is not None]
    if any(bytes([each]) in text for each in special):
        return None
    data = np.frombuffer(text, np.uint8)
    places = _places(data, marks.delimiter)
    is_end = data[places] == LF
    if last and text and text[-1] != LF:
        places, is_end = np.append(places, len(data)), np.append(is_end, True)
    else:
        kept = len(places) - int(is_end[::-1].argmax()) if is_end.any() else 0
        places, is_end = places[:kept], is_end[:kept]
    stop = places[is_end]
    begin = np.concatenate([np.zeros(1, np.int64), stop + 1])[:-1]
    lines = np.flatnonzero(stop > begin)
    if len(lines) < len(stop):
        there = np.ones(len(places), bool)
        there[np.flatnonzero(is_end)[stop == begin]] = False
        places, is_end, begin = places[there], is_end[there], begin[lines]
    if len(places) != len(lines) * width or not is_end[width - 1 :: width].all():
        return None
    used = min(int(stop[-1]) + 1, len(data)) if len(stop) else 0
    if not text.isascii() and not _is_utf8(memoryview(text)[:used]):
        return None
    newlines = len(stop) - (used == len(data) and data[-1] != LF) if used else 0
    return PlainLayout(begin, places.astype(np.int32).reshape(-1, width), lines, used, newlines)


def _places(data: np.ndarray, delimiter: int) -> np.ndarray:
    """int64: where a delimiter or a newline stands."""
    found = []
    for first in range(0, len(data), _CACHED_BYTES):
        part = data[first : first + _CACHED_BYTES]
        found.append(np.flatnonzero((part == LF) | (part == delimiter)) + first)
    return np.concatenate([np.empty(0, np.int64), *found])


def _is_utf8(text: memoryview) -> bool:
    try:
        str(text, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
