"""The part of a search's report that sets what was forecast beside what the search has taken. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from sapflow.monitoring.report.elements import table
from sapflow.text import dollars, duration

_FIGURES: tuple[tuple[str, str, str, str, str, Callable[[float], str]], ...] = (
    ("time", "seconds", "secondsRange", "secondsError", "secondsWithin", duration),
    ("cost", "costUSD", "costRange", "costError", "costWithin", dollars),
)
"""Name, the field of the middle, of the range, of the error, whether it lies within; and how it is written."""


def section(outcome: Mapping[str, Any] | None) -> str:
    """The section's content; empty where nothing was forecast, or the search has not ended."""
    said = None if outcome is None else outcome.get("forecast")
    if not isinstance(said, Mapping):
        return ""
    rows = [
        [
            name,
            form(said[middle]),
            " to ".join(map(form, said[spread])),
            *_grade(said, middle, error, within, form),
        ]
        for name, middle, spread, error, within, form in _FIGURES
        if middle in said and spread in said
    ]
    if not rows:
        return ""
    graded = any(error in said for *_, error, _, _ in _FIGURES)
    why = "" if graded else "<p>It is not graded: a goal ended the search, or limits were changed since.</p>"
    return why + table(["forecast", "middle", "8 of 10 draws", "was", "error", "within"], rows)


def _grade(
    said: Mapping[str, Any], middle: str, error: str, within: str, form: Callable[[float], str]
) -> list[str]:
    if error not in said:
        return ["–", "–", "–"]
    was = float(said[middle]) / (1 + float(said[error]))
    return [form(was), f"{100 * float(said[error]):+.0f} %", "yes" if said.get(within) else "no"]
