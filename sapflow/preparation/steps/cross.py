"""Crosses: the categories of two or more columns together as one column of text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.numerals import numerals
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, ColumnType, Fitted, Schema, Step
from sapflow.preparation.steps.columns import one, unused
from sapflow.spec.preparation.category_steps import CrossSpec

SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class CrossStep(Step):
    """Crosses columns of text and numbers."""

    spec: CrossSpec

    def begin(self, given: Schema) -> Fitted:
        columns = tuple(one(name, given, ("Text", "Number"), field="columns") for name in self.spec.columns)
        return Cross(columns, unused(self.spec.name, given, "name"))


@dataclass(frozen=True, slots=True)
class Cross(Fitted):
    """A further column of text: the words of its columns in their order, separated by `|`. A row that misses one of
    them misses it. `|` and `\\` within a word have `\\` before them, so different words never give the same text."""

    columns: tuple[str, ...]
    into: str
    """The new column."""
    name: ClassVar[str] = "cross"

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return (self.into,)

    def schema(self, given: Schema) -> Schema:
        return {**given, self.into: ColumnType("Text")}

    def apply(self, batch: Batch) -> Applied:
        crossed = _escaped(batch.columns[self.columns[0]])
        for column in self.columns[1:]:
            crossed = _pairs(crossed, _escaped(batch.columns[column]))
        return Applied(batch.changed({self.into: crossed}))

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "into": self.into})

    @classmethod
    def of_record(cls, record: Record) -> "Cross":
        return cls(tuple(record.notes["columns"]), str(record.notes["into"]))


def _escaped(column: Column) -> Text:
    text = column if isinstance(column, Text) else numerals(np.asarray(column))
    words = (word.replace("\\", "\\\\").replace(SEPARATOR, "\\" + SEPARATOR) for word in text.words)
    return Text(text.codes, tuple(words))


def _pairs(left: Text, right: Text) -> Text:
    """The pairs that occur, each once."""
    there = (left.codes >= 0) & (right.codes >= 0)
    pairs = left.codes[there].astype(np.int64) * max(1, len(right.words)) + right.codes[there]
    different, places = np.unique(pairs, return_inverse=True)
    codes = np.full(len(left), -1, np.int32)
    codes[there] = places
    return Text(
        codes,
        tuple(
            left.words[pair // len(right.words)] + SEPARATOR + right.words[pair % len(right.words)]
            for pair in different.tolist()
        ),
    )
