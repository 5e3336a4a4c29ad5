"""Formats numbers and messages for people and machines."""

import itertools
import json
import math
from collections.abc import Collection
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """The JSON value. Raises ValueError if the text is no JSON, or is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error


def printable(text: str) -> str:
    """The text without control characters except for line ends, because functions may print anything."""
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def duration(seconds: float) -> str:
    """Seconds as text for people: 8 ms, 3.2 s, 4 min 05 s, 2 h 03 min."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"


def dollars(value: float) -> str:
    """USD with three significant digits, never as a power of ten."""
    digits = 2
    while 0 < value < 10 ** (2 - digits) and digits < 10:
        digits += 1
    return f"${value:.{digits}f}"


def percent(part: float) -> str:
    return f"{part * 100:.2f} %"


def count(number: int, noun: str) -> str:
    """A number and its noun in singular or plural: 1 step, 1,000 steps."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def some_of(names: Collection[str], most: int = 20) -> str:
    """The first names in a row, and how many more there are: a table may have 100,000 columns."""
    shown = ", ".join(itertools.islice(names, most)) or "none"
    return f"{shown} and {len(names) - most:,} more" if len(names) > most else shown


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON that every parser accepts. Numbers that are not finite become null, because JSON has none."""
    return json.dumps(_finite(value), indent=indent, sort_keys=True, allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
        case _:
            return value
