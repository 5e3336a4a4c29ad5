"""How often each value of a column occurs: exact counts, merged in any order, within a bound."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.preparation.batch import Column, Text, missing
from sapflow.preparation.record import Record, words_of, words_to_arrays
from sapflow.preparation.step import StepProblem

MAX_CATEGORIES = 100_000
"""Different values of a column that are counted."""
MAX_CATEGORY_BYTES = 16 << 20
"""UTF-8 bytes of a column's different words together."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The different values in their order, words by code point and numbers by size, and in how many rows each is."""

    values: tuple[str, ...] | np.ndarray
    """Words, or float64 [k]; NaN is never among them, and -0 counts as 0."""
    rows: np.ndarray
    """int64 [k], all above 0."""
    missing: int = 0
    too_many: bool = False
    """There were more values than the bound: none is told any more."""

    def record(self) -> Record:
        """The counts as a record."""
        arrays = {"rows": self.rows}
        if isinstance(self.values, tuple):
            arrays |= words_to_arrays("words", self.values)
        else:
            arrays["numbers"] = self.values
        return Record({"missing": self.missing, "too_many": self.too_many}, arrays)

    @classmethod
    def of_record(cls, record: Record) -> "Counts":
        """The counts that `record` was made from."""
        arrays, notes = record.arrays, record.notes
        values = arrays["numbers"] if "numbers" in arrays else words_of("words", arrays)
        return cls(values, arrays["rows"], notes["missing"], notes["too_many"])

    def within(self, column: str, remedy: str) -> "Counts":
        """The counts themselves. Raises StepProblem with a remedy if there were too many values."""
        if self.too_many:
            raise StepProblem(
                f"column {column} has more than {MAX_CATEGORIES:,} different values, or their text has more than "
                f"{MAX_CATEGORY_BYTES >> 20} MiB: {remedy}",
                "columns",
            )
        return self


def counts_of(column: Column) -> Counts:
    """The counts of the values of a column of text or of numbers."""
    nothing = int(missing(column).sum())
    if isinstance(column, Text):
        rows = np.bincount(column.codes[column.codes >= 0], minlength=len(column.words))
        counted = {column.words[code]: int(rows[code]) for code in np.flatnonzero(rows).tolist()}
        return _counts_of_words(counted, nothing)
    assert isinstance(column, np.ndarray)
    values, rows = np.unique(column[~np.isnan(column)] + 0.0, return_counts=True)
    return _within_bound(values, rows.astype(np.int64), nothing)


def merged(several: Sequence[Counts]) -> Counts:
    """The counts of all rows together. All are of words, or all of numbers."""
    first, nothing = several[0], sum(each.missing for each in several)
    if any(each.too_many for each in several):
        return _too_many(isinstance(first.values, tuple), nothing)
    if isinstance(first.values, tuple):
        total: dict[str, int] = {}
        for each in several:
            for word, rows in zip(each.values, each.rows.tolist(), strict=True):
                total[word] = total.get(word, 0) + rows
        return _counts_of_words(total, nothing)
    values, places = np.unique(np.concatenate([each.values for each in several]), return_inverse=True)
    summed = np.zeros(len(values), np.int64)
    np.add.at(summed, places, np.concatenate([each.rows for each in several]))
    return _within_bound(values, summed, nothing)


def _counts_of_words(counted: dict[str, int], nothing: int) -> Counts:
    words = tuple(sorted(counted))
    return _within_bound(words, np.array([counted[word] for word in words], np.int64), nothing)


def _within_bound(values: tuple[str, ...] | np.ndarray, rows: np.ndarray, nothing: int) -> Counts:
    textual = isinstance(values, tuple)
    size = sum(len(word.encode("utf-8", "surrogatepass")) for word in values) if textual else 0
    if len(values) > MAX_CATEGORIES or size > MAX_CATEGORY_BYTES:
        return _too_many(textual, nothing)
    return Counts(values, rows, nothing)


def _too_many(textual: bool, nothing: int) -> Counts:
    return Counts(() if textual else np.zeros(0), np.zeros(0, np.int64), nothing, too_many=True)
