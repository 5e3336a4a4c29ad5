"""A sample of a source's rows in bounded memory: the same rows for the same source."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.row_numbers import drawn

SAMPLE_ROWS = 65_536
"""So many rows are kept; of smaller sources all."""
_SEED = 0
_HASH_BYTES = 8
_SPARED_BITS = np.uint64(11)
"""A float64 has 53 bits for a whole number."""


class RowSample:
    """Keeps the rows with the least random numbers. Each kept column is float64 [m]: numbers as they are, times in
    microseconds, text as a number that stands for its word; NaN is missing."""

    def __init__(self, columns: Sequence[str], rows: int = SAMPLE_ROWS) -> None:
        self._columns, self._rows = tuple(columns), rows
        self._keys = np.zeros(0, np.uint64)
        self._values = {name: np.zeros(0) for name in columns}

    def add(self, batch: Batch) -> None:
        keys = drawn(batch, _SEED)
        if len(self._keys) == self._rows:
            chosen = keys < self._keys.max()
            batch, keys = batch.take(chosen), keys[chosen]
        together = np.concatenate([self._keys, keys])
        kept: np.ndarray | slice = slice(None)
        if len(together) > self._rows:
            # In their order, so that the sample of a small source is the source.
            kept = np.sort(np.argpartition(together, self._rows - 1)[: self._rows])
        self._keys = together[kept]
        for name in self._columns:
            values = np.concatenate([self._values[name], as_numbers(batch.columns[name])])
            self._values[name] = values[kept]

    @property
    def rows(self) -> int:
        """The most rows that are kept."""
        return self._rows

    @property
    def values(self) -> Mapping[str, np.ndarray]:
        """float64 [m] of each column."""
        return self._values


def as_numbers(column: Column) -> np.ndarray:
    """float64 [n] of a column of numbers, times or text; equal values are equal numbers."""
    if isinstance(column, Text):
        used = np.unique(column.codes[column.codes >= 0])
        numbers = np.full(len(column.words) + 1, np.nan)  # the code of a missing value, -1, is the last one
        for code in used.tolist():
            numbers[code] = _number(column.words[code])
        return np.asarray(numbers[column.codes])
    assert isinstance(column, np.ndarray), "images are not sampled"
    if column.dtype.kind == "M":
        times = column.astype("datetime64[us]")
        return np.where(np.isnat(times), np.nan, times.astype(np.int64).astype(np.float64))
    return column.astype(np.float64)


def _number(word: str) -> float:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()
    return float(np.frombuffer(digest, "<u8")[0] >> _SPARED_BITS)
