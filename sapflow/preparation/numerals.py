"""Numbers as text: the shortest numeral that is read back as the same number, whole ones without a point."""

import numpy as np

from sapflow.preparation.batch import Column, Text

_EXACT = float(2**53)


def numeral(number: float) -> str:
    """The numeral: 12, -0.5, 1e+300, inf, nan. Minus nought is 0."""
    if number.is_integer() and abs(number) < _EXACT:
        return str(int(number))
    return repr(number)


def numerals(numbers: np.ndarray) -> Text:
    """A column of float64 [n] as text; NaN is missing."""
    there = ~np.isnan(numbers)
    different, places = np.unique(numbers[there] + 0.0, return_inverse=True)
    codes = np.full(len(numbers), -1, np.int32)
    codes[there] = places
    return Text(codes, tuple(numeral(number) for number in different.tolist()))


def as_text(column: Column) -> Text:
    """A column of text or of numbers as text."""
    return column if isinstance(column, Text) else numerals(np.asarray(column))
