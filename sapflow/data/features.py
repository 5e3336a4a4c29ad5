"""Reads features alone, without targets, for a trained model: from tables, by the names of their columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sapflow.data.data_file import DataFile
from sapflow.data.formats import arrow_tables, csv_files
from sapflow.data.formats.columns import Columns, for_prediction
from sapflow.data.formats.csv_files import Dialect
from sapflow.data.in_memory import series_to_numpy
from sapflow.errors import DataError

Ignored = list[str]
"""The names of columns that are in a table and that a model does not take."""


def of_csv(file: DataFile, expected: Sequence[str], dialect: Dialect) -> tuple[np.ndarray, Ignored]:
    """float64 [n, features] of a CSV file, gzipped or not; `expected` are the names of a model's features.

    Raises DataError, which names the line and column of what is no number.
    """
    columns: Columns | None = None
    ignored: Ignored = []
    found: list[np.ndarray] = []
    for rows in csv_files.read(file, dialect, expected):
        if columns is None:
            columns, ignored = for_prediction(rows.names, rows.width, expected, file.name)
        found.append(csv_files.numbers(rows, columns.features))
    return _joined(found, file.name), ignored


def of_parquet(file: DataFile, expected: Sequence[str]) -> tuple[np.ndarray, Ignored]:
    """float64 [n, features] of a Parquet file, as `of_csv` gives them. Raises DataError."""
    ignored: Ignored = []
    found: list[np.ndarray] = []
    for names, index, batch, done in arrow_tables.read(file):
        columns, ignored = for_prediction(names, len(names), expected, file.name, index)
        found.append(_of_batch(batch, columns, file.name, done))
    return _joined(found, file.name), ignored


def of_table(given: Any, expected: Sequence[str]) -> np.ndarray | None:
    """The features of a pandas DataFrame or an Arrow table; None if the object is neither. Raises DataError."""
    if hasattr(given, "columns") and hasattr(given, "iloc"):
        origin, names = "the DataFrame", [str(name) for name in given.columns]
        columns, _ = for_prediction(names, len(names), expected, origin)
        arrays = {place: series_to_numpy(given.iloc[:, place], names[place], 0) for place in columns.features}
        return arrow_tables.numbers(arrays, columns, origin, 0)
    if hasattr(given, "to_batches") and hasattr(given, "schema"):
        origin, names = "the Arrow table", list(given.schema.names)
        columns, _ = for_prediction(names, len(names), expected, origin, arrow_tables.index_of(given.schema))
        return _joined([_of_batch(batch, columns, origin, 0) for batch in given.to_batches()], origin)
    return None


def _of_batch(batch: Any, columns: Columns, origin: str, row: int) -> np.ndarray:
    arrays = {
        place: arrow_tables.to_numpy(batch.columns[place], columns.names[place], origin, row)
        for place in columns.features
    }
    return arrow_tables.numbers(arrays, columns, origin, row)


def _joined(found: Sequence[np.ndarray], origin: str) -> np.ndarray:
    if not found:
        raise DataError(f"{origin} holds no rows")
    return np.concatenate(found)
