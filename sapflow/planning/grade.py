"""A forecast in the words of an outcome, and how far off it was. Pure."""

from typing import Any

from sapflow.planning.spread import Spread


def in_outcome(seconds: Spread, cost: Spread) -> dict[str, Any]:
    """Its middle, and between what eight in ten draws lie."""
    return {
        "seconds": seconds.p50,
        "secondsRange": [seconds.p10, seconds.p90],
        "costUSD": cost.p50,
        "costRange": [cost.p10, cost.p90],
    }


def errors(seconds: Spread, cost: Spread, taken: float, dollars: float) -> dict[str, Any]:
    """How far off it was of what was measured, in seconds and dollars; of figures above 0.

    The errors are relative to what was measured: +0.1 means that 10 % too much was forecast.
    """
    found: dict[str, Any] = {}
    if taken > 0:
        found |= {"secondsError": seconds.p50 / taken - 1, "secondsWithin": seconds.holds(taken)}
    if dollars > 0:
        found |= {"costError": cost.p50 / dollars - 1, "costWithin": cost.holds(dollars)}
    return found
