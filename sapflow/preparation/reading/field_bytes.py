"""The bytes of many fields at once, eight as one number, so that what is done to each takes a few steps for all."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

_MARGIN = 16
"""Zeros on both sides of the text: as many bytes of a field can be read wherever it stands."""
_LOW = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_TO_TEN = np.uint64(0x7676767676767676)
ZEROS = np.uint64(0x3030303030303030)
"""Eight digits 0."""


@dataclass(frozen=True)
class FieldBytes:
    """UTF-8 text in which fields are found by where they begin and end."""

    text: np.ndarray
    """uint8."""

    @cached_property
    def _padded(self) -> np.ndarray:
        none = np.zeros(_MARGIN, np.uint8)
        return np.concatenate([none, self.text, none])

    @cached_property
    def _eights(self) -> np.ndarray:
        return np.ndarray(len(self._padded) - 7, np.dtype("<u8"), self._padded, strides=(1,))

    def byte_at(self, places: np.ndarray) -> np.ndarray:
        """uint8 [n]: the byte at each place; 0 behind the text."""
        return np.asarray(self._padded[places + _MARGIN])

    def eight_from(self, places: np.ndarray) -> np.ndarray:
        """uint64 [n]: the eight bytes from each place on, the first one lowest."""
        return np.asarray(self._eights[places + _MARGIN])

    def eight_before(self, places: np.ndarray) -> np.ndarray:
        """uint64 [n]: the eight bytes before each place, the last one highest."""
        return np.asarray(self._eights[places + (_MARGIN - 8)])

    def joined(self, begin: np.ndarray, length: np.ndarray, end: int) -> bytes:
        """Some fields in a row, each with the byte `end` after it."""
        sizes = length + 1
        ends = np.cumsum(sizes)
        places = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(begin - (ends - sizes), sizes)
        found: np.ndarray = self.text[np.minimum(places, len(self.text) - 1)]
        found[ends - 1] = end
        return found.tobytes()

    def equal(self, begin: np.ndarray, length: np.ndarray, word: bytes) -> np.ndarray:
        """bool [n]: the fields that are this word."""
        same = np.asarray(length == len(word))
        if not word:
            return same
        rows = np.flatnonzero(same)
        for place, byte in enumerate(word):
            rows = rows[self.text[begin[rows] + place] == byte]
        same = np.zeros(len(begin), bool)
        same[rows] = True
        return same


def all_digits(eights: np.ndarray) -> np.ndarray:
    """bool [n]: whether each of the eight bytes, of which ZEROS was taken by exclusive or, was a digit."""
    return np.asarray((((eights + _TO_TEN) | eights) & _HIGH) == 0)


def first_of(eights: np.ndarray, byte: int) -> np.ndarray:
    """uint64 [n]: the lowest bit of the first of the eight bytes that is `byte`; 0 where none is."""
    apart = eights ^ (_LOW * np.uint64(byte))
    # A byte above the first 0 may be taken for one where it is 1; only the first counts.
    zero = (apart - _LOW) & ~apart & _HIGH
    return np.asarray((zero & (~zero + np.uint64(1))) >> np.uint64(7))
