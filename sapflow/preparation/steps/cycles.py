"""Sines and cosines of the places of a cycle, in tables that decimal arithmetic computes: equal on every CPU."""

from decimal import Context, Decimal, localcontext
from functools import cache

import numpy as np

_CONTEXT = Context(prec=50)
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
_NOTHING = Decimal("1e-45")


@cache
def sines(period: int) -> np.ndarray:
    """float64 [period]: sin(2π i / period), correctly rounded."""
    return _table(period, 0)


@cache
def cosines(period: int) -> np.ndarray:
    """float64 [period]: cos(2π i / period), correctly rounded."""
    return _table(period, 1)


def _table(period: int, cosine: int) -> np.ndarray:
    return np.array([_sine(4 * place + cosine * period, 4 * period) for place in range(period)])


def _sine(place: int, period: int) -> float:
    """sin(2π place / period), of an angle that is brought into the first quarter, where the series is short and the
    exact values 0 and 1 come out exact."""
    place %= period
    sign = 1 if 2 * place < period else -1
    place = place if 2 * place < period else place - period // 2
    place = min(place, period // 2 - place)
    if place == 0:
        return 0.0
    if 4 * place == period:
        return float(sign)
    with localcontext(_CONTEXT):
        angle = 2 * _PI * place / period
        term, total, number = angle, angle, 1
        while abs(term) > _NOTHING:
            number += 2
            term = -term * angle * angle / (number * (number - 1))
            total += term
    return sign * float(total)
