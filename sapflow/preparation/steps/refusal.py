"""Rows that a step cannot take: they leave the batch, and are told with their values."""

from dataclasses import dataclass

import numpy as np

from sapflow.preparation.batch import Batch, Blobs, Column, Text
from sapflow.preparation.numerals import numeral
from sapflow.preparation.step import Applied, BadRows

SHOWN = 200
"""Characters of a value that are told."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The rows that `where` (bool [n]) marks cannot be taken for what `column` has there."""

    column: str
    reason: str
    where: np.ndarray


def without(batch: Batch, after: Batch, refused: list[Refused]) -> Applied:
    """The rows of `after` that nothing refuses. `batch` is the same rows before the step; a row is told once, by the
    first that refuses it."""
    taken, bad = np.ones(len(batch), bool), []
    for each in refused:
        rows = np.flatnonzero(each.where & taken)
        if len(rows):
            taken &= ~each.where
            shown = [value_at(batch.columns[each.column], row) for row in rows.tolist()]
            bad.append(BadRows(batch.numbers[rows].tolist(), each.column, each.reason, shown))
    return Applied(after.take(taken) if bad else after, tuple(bad))


def value_at(column: Column, row: int) -> str:
    """What a row has, for people; empty where it has nothing."""
    if isinstance(column, Text):
        code = int(column.codes[row])
        return column.words[code][:SHOWN] if code >= 0 else ""
    if isinstance(column, Blobs):
        value = column.values[row]
        return "" if value is None else f"{len(value)} bytes"
    if column.dtype.kind == "M":
        return "" if np.isnat(column[row]) else str(column[row])
    if column.ndim == 1:
        number = float(column[row])
        return "" if np.isnan(number) else numeral(number)
    return f"{column[row].size} numbers"
