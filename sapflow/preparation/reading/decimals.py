"""Numbers written as plain decimals, such as -12.5, many at once, to the same bits as by the correctly rounded parser.

The digits of at most sixteen characters are put together as whole numbers eight at a time (Lemire, *Quickly parsing
eight digits*, 2018), and divided by a power of ten. Whole numbers up to 2^53 and powers up to 10^22 are exact as
float64, and IEEE 754 rounds their quotient correctly (Clinger, *How to read floating point numbers accurately*, 1990).
"""

import numpy as np

from sapflow.preparation.reading.field_bytes import ZEROS, FieldBytes, all_digits, first_of

MOST_CHARACTERS = 16
_EXACT = 2**53
_POWERS = np.array([float(10**power) for power in range(23)])
"""All powers of ten that are exact; what is no decimal may seem to have as many places."""
_KEPT = np.array([0] + [(2**64 - 1) ^ (2 ** (64 - 8 * count) - 1) for count in range(1, 9)], np.uint64)
"""By how many of eight characters, from the last one on, are the number's."""
_MINUS = ord("-")
_U = np.uint64
# The number of bytes behind the byte whose lowest bit is set, in the highest four bits of the product.
_BEHIND = _U(sum((7 - place) << (60 - 8 * place) for place in range(8)))


def decimals(
    text: FieldBytes, begin: np.ndarray, end: np.ndarray, point: int
) -> tuple[np.ndarray, np.ndarray]:
    """float64 [n], the numbers of fields, and bool [n]: which fields are plain decimals; other values are of no use.

    A plain one has digits, at most one `point` (a byte) between two of them, and before them a minus or nothing; it is
    at most 16 characters long behind the minus, and without the point no more than 2^53.
    """
    negative = text.byte_at(begin) == _MINUS
    length = end - begin - negative
    plain = (length > 0) & (length <= MOST_CHARACTERS)
    high, of_high = _without_point(text.eight_before(end), np.maximum(np.minimum(length, 8), 0), point)
    number, power = _digits(high), (of_high * _BEHIND) >> _U(60)
    has_point = of_high != 0
    plain &= all_digits(high)
    long = np.flatnonzero(length > 8)
    if len(long):
        point_in_high, size = has_point[long], np.minimum(length[long] - 8, 8)
        low, of_low = _without_point(text.eight_before(end[long] - 8), size, point)
        point_in_low = of_low != 0
        fine = all_digits(low) & ~(point_in_high & point_in_low)
        # Without its point the later half has room for one character of the earlier one.
        number[long] += (low >> _U(56)) * point_in_high * _U(10_000_000)
        low <<= point_in_high.astype(np.uint64) << _U(3)
        number[long] += _digits(low) * _U(100_000_000)
        power[long] += (((of_low * _BEHIND) >> _U(60)) + _U(8)) * point_in_low
        has_point[long] |= point_in_low
        plain[long] &= fine & (number[long] <= _U(_EXACT))
    behind = power.astype(np.int64)
    # A digit stands on both sides of a point.
    plain &= ~has_point | ((behind > 0) & (behind < length - 1))
    values = number.astype(np.float64) / _POWERS[behind]
    signed = values.view(np.uint64) | (negative.astype(np.uint64) << _U(63))
    return signed.view(np.float64), plain


def _without_point(eights: np.ndarray, kept: np.ndarray, point: int) -> tuple[np.ndarray, np.ndarray]:
    """uint64 [n]: the last `kept` of eight characters, less ZEROS, with those before the point moved into its place;
    and the lowest bit of the point's byte, 0 where there is none."""
    values = (eights ^ ZEROS) & _KEPT[kept]
    at = first_of(values, point ^ ord("0"))
    before = at - (at != 0)
    moved = (values & before) << _U(8)
    return moved | (values & ~(before | (at * _U(0xFF)))), at


def _digits(values: np.ndarray) -> np.ndarray:
    """uint64 [n]: the whole numbers of eight digits each, the first one in the lowest byte."""
    pairs = values * _U(10) + (values >> _U(8))
    first = (pairs & _U(0x000000FF000000FF)) * _U(0x000F424000000064)
    second = ((pairs >> _U(16)) & _U(0x000000FF000000FF)) * _U(0x0000271000000001)
    return np.asarray((first + second) >> _U(32))
