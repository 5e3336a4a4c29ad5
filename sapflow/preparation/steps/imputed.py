"""Columns with their missing values filled in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch, Column, Text, missing
from sapflow.preparation.record import Record, words_of, words_to_arrays
from sapflow.preparation.step import Applied, ColumnType, Fitted, Schema


def indicator_of(column: str) -> str:
    """The name of the column that says where `column` had no value."""
    return f"{column}_missing"


def with_their_indicators(columns: Iterable[str], indicator: bool) -> tuple[str, ...]:
    """The names of columns, and where there is an `indicator` those of theirs."""
    names = tuple(columns)
    return (*names, *(map(indicator_of, names) if indicator else ()))


def with_indicators(given: Schema, columns: Sequence[str], indicator: bool) -> Schema:
    """The columns after an imputation."""
    more = (
        {indicator_of(name): ColumnType("Number") for name in columns if name in given} if indicator else {}
    )
    return {**given, **more}


@dataclass(frozen=True, slots=True)
class Imputed(Fitted):
    """Columns with a value in place of each that is missing."""

    name: ClassVar[str] = "impute"
    values: Mapping[str, float | str]
    """By column."""
    indicator: bool

    def reads(self) -> Sequence[str]:
        return tuple(self.values)

    def writes(self) -> Sequence[str]:
        return with_their_indicators(self.values, self.indicator)

    def schema(self, given: Schema) -> Schema:
        return with_indicators(given, tuple(self.values), self.indicator)

    def apply(self, batch: Batch) -> Applied:
        filled: dict[str, Column] = {}
        indicators: dict[str, Column] = {}
        for name, value in self.values.items():
            column = batch.columns.get(name)
            if column is None:
                continue
            nothing = missing(column)
            if self.indicator:
                indicators[indicator_of(name)] = nothing.astype(np.float64)
            if nothing.any():
                filled[name] = _filled(column, nothing, value)
        return Applied(batch.changed({**filled, **indicators}))

    def record(self) -> Record:
        numbers = {name: value for name, value in self.values.items() if not isinstance(value, str)}
        texts = {name: value for name, value in self.values.items() if isinstance(value, str)}
        notes = {"columns": list(self.values), "texts": list(texts), "indicator": self.indicator}
        arrays = {"numbers": np.array(list(numbers.values()), np.float64)}
        return Record(notes, arrays | words_to_arrays("texts", list(texts.values())))

    @classmethod
    def of_record(cls, record: Record) -> "Imputed":
        notes, arrays = record.notes, record.arrays
        columns, textual = notes["columns"], notes["texts"]
        texts: dict[str, float | str] = dict(zip(textual, words_of("texts", arrays), strict=True))
        others = [name for name in columns if name not in texts]
        found = texts | dict(zip(others, arrays["numbers"].tolist(), strict=True))
        return cls({name: found[name] for name in columns}, notes["indicator"])


def _filled(column: Column, nothing: np.ndarray, value: float | str) -> Column:
    if isinstance(column, Text):
        words = column.words
        code = words.index(value) if value in words else len(words)
        if code == len(words):
            words = (*words, str(value))
        return Text(np.where(nothing, np.int32(code), column.codes), words)
    return np.where(nothing, float(value), np.asarray(column))
