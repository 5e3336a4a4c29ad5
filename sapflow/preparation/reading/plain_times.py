"""Times in the two most frequent forms of ISO 8601, `2025-01-31` and `2025-01-31 23:59:59`, many at once."""

import numpy as np

from sapflow.preparation.reading.field_bytes import FieldBytes, all_digits

DATE, TIME = 10, 19
"""Characters of a date, and of a date with a time."""
_U = np.uint64
_DAY = 86_400
_WITH_T = _U((ord(" ") ^ ord("T")) << 16)


def plain_times(text: FieldBytes, begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n], microseconds since 1970, and bool [n]: which fields are such times; other values are of no use. T may
    stand in place of the space."""
    micros, plain = np.zeros(len(begin), np.int64), np.zeros(len(begin), bool)
    length = end - begin
    for size in (DATE, TIME):
        rows = np.flatnonzero(length == size)
        if len(rows):
            micros[rows], plain[rows] = _times(text, begin[rows], with_time=size == TIME)
    return micros, plain


def _times(text: FieldBytes, begin: np.ndarray, *, with_time: bool) -> tuple[np.ndarray, np.ndarray]:
    first = text.eight_from(begin) ^ _pattern("0000-00-")
    last = text.eight_from(begin + 2) ^ _pattern("00-00-00")
    plain = all_digits(first) & all_digits(last) & (_byte(first, 4) + _byte(first, 7) == 0)
    pairs = _pairs(first)
    year, month, day = _byte(pairs, 0) * 100 + _byte(pairs, 2), _byte(pairs, 5), _byte(_pairs(last), 6)
    plain &= (year > 0) & (month > 0) & (month <= 12) & (day > 0)
    months = np.where(plain, (year - 1970) * 12 + month - 1, 0)
    earliest = int(months.min())
    starts = np.arange(earliest, int(months.max()) + 2).astype("M8[M]").astype("M8[D]").astype(np.int64)
    start = starts[months - earliest]
    plain &= day <= starts[months - earliest + 1] - start
    seconds = (start + day - 1) * _DAY
    if with_time:
        middle = text.eight_from(begin + 8) ^ _pattern("00 00:00")
        middle ^= _WITH_T * (_byte(middle, 2) == (int(_WITH_T) >> 16))
        behind = text.eight_from(begin + 11) ^ _pattern("00:00:00")
        plain &= all_digits(middle) & all_digits(behind)
        plain &= (_byte(middle, 2) + _byte(behind, 2) + _byte(behind, 5)) == 0
        pairs = _pairs(behind)
        hour, minute, second = _byte(pairs, 0), _byte(pairs, 3), _byte(pairs, 6)
        plain &= (hour < 24) & (minute < 60) & (second < 60)
        seconds += hour * 3600 + minute * 60 + second
    return seconds * 1_000_000, plain


def _pattern(written: str) -> np.uint64:
    return _U(int.from_bytes(written.encode(), "little"))


def _pairs(values: np.ndarray) -> np.ndarray:
    """uint64 [n]: in each byte the number that its digit and the next one make."""
    return np.asarray(values * _U(10) + (values >> _U(8)))


def _byte(values: np.ndarray, place: int) -> np.ndarray:
    """int64 [n]: one of the eight bytes."""
    return ((values >> _U(8 * place)) & _U(0xFF)).astype(np.int64)
