"""Raw rows of requests as columns: what a model takes, and what requests with several rows are put together from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.preparation.batch import Blobs, Column, Text, taken


@dataclass(frozen=True, slots=True)
class RawRows:
    """Rows of one or several requests."""

    columns: Mapping[str, Column]
    """All of the model's columns, each of as many rows."""
    count: int

    def row(self, number: int, names: Sequence[str]) -> dict[str, object]:
        """Some values of a row, as messages have them; None where there is none."""
        return {name: value_of(self.columns[name], number) for name in names if name in self.columns}

    def range(self, first: int, last: int) -> "RawRows":
        """The rows from `first` to before `last`."""
        rows = np.arange(first, last)
        return RawRows({name: taken(each, rows) for name, each in self.columns.items()}, last - first)


def joined(parts: Sequence[RawRows]) -> RawRows:
    """The rows of several requests to one model, in their order."""
    if len(parts) == 1:
        return parts[0]
    names = parts[0].columns
    return RawRows(
        {name: _joined([each.columns[name] for each in parts]) for name in names},
        sum(each.count for each in parts),
    )


def _joined(columns: Sequence[Column]) -> Column:
    first = columns[0]
    if isinstance(first, Text):
        return Text.of(value for each in columns if isinstance(each, Text) for value in each.values())
    if isinstance(first, Blobs):
        return Blobs(tuple(value for each in columns if isinstance(each, Blobs) for value in each.values))
    return np.concatenate([each for each in columns if isinstance(each, np.ndarray)])


def value_of(column: Column, row: int) -> object:
    """A value as people read it; None where it is missing."""
    if isinstance(column, Text):
        code = int(column.codes[row])
        return None if code < 0 else column.words[code]
    if isinstance(column, Blobs):
        return None
    value = column[row]
    if value.ndim:
        return None
    if column.dtype.kind == "M":
        return None if np.isnat(value) else str(value)
    number = float(value)
    if np.isnan(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
