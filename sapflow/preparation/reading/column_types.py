"""The types of columns that nobody has declared, found once from the beginning of a source.

A column whose values are all numbers is of numbers; one whose values are all times, in ISO 8601 or the given pattern,
of times; any other of text, and so is one without values. Numbers with a leading zero, such as 00501, are text: they
are codes. Words that often stand for no value (`nan`, `null`, `?` …) do not count: where they are none of the missing
texts that were named, their rows are rejected, which says what to do.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sapflow.data.formats.header import NO_VALUE
from sapflow.errors import DataError
from sapflow.preparation.batch import Column, Kind, Text, missing
from sapflow.text import some_of

ROWS = 10_000
"""Rows that types are found from."""
_CODE = re.compile(r"\s*[+-]?0[0-9]")


def found(
    names: Sequence[str], read: Callable[[Kind], Sequence[Column]], declared: Mapping[str, Kind]
) -> dict[str, Kind]:
    """The type of each column, the declared one where there is one. `read` gives all columns as if they were of a kind,
    and a value that is none as missing."""
    if all(name in declared for name in names):
        return {name: declared[name] for name in names}
    texts, numbers, times = (read(kind) for kind in ("Text", "Number", "Time"))  # type: ignore[arg-type]
    kinds: dict[str, Kind] = {}
    for name, text, number, time in zip(names, texts, numbers, times, strict=True):
        assert isinstance(text, Text), "asked for as text"
        kinds[name] = declared.get(name) or _kind(text, number, time)
    return kinds


def refuse_unknown(declared: Mapping[str, Kind], names: Sequence[str], origin: str) -> None:
    """Raises DataError where a column is declared that is not there."""
    if unknown := sorted({*declared} - {*names}):
        raise DataError(
            f"prepare.columns declares {', '.join(unknown[:5])}, and {origin} has no such column; it has "
            f"{some_of(names)}"
        )


def _kind(text: Text, number: Column, time: Column) -> Kind:
    void = np.array([word.strip().lower() in NO_VALUE for word in text.words] + [True], bool)
    empty = void[text.codes]  # the code of a missing value, -1, is the last one
    if empty.all():
        return "Text"
    if (empty | ~missing(number)).all():
        codes = any(_CODE.match(word) for word in text.words)
        return "Text" if codes else "Number"
    return "Time" if (empty | ~missing(time)).all() else "Text"
