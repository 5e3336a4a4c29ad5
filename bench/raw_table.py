"""A raw table of 20 columns in CSV as companies have them: numbers with missing values, categories, a time, a label."""

from pathlib import Path
from typing import Any

import numpy as np

FLOATS = tuple(f"x{number}" for number in range(10))
"""Numbers with four decimal places."""
COUNTS = ("n0", "n1", "n2")
"""Whole numbers."""
LEVELS = {"c0": 4, "c1": 8, "c2": 16, "c3": 400, "c4": 2}
"""Columns of text, and how many categories each has."""
TIME, TARGET = "at", "late"
COLUMNS = len(FLOATS) + len(COUNTS) + len(LEVELS) + 2
MISSING_SHARE = 0.05
"""Of the values of each column of numbers, and of the first column of text."""
_AT_ONCE = 250_000
_SECONDS_OF_A_YEAR = 365 * 86_400


def write(path: Path, rows: int) -> None:
    """Write so many rows with a header; the same rows each time. Missing values are empty fields."""
    from pyarrow import csv  # the bench needs what is in sapflow[data]

    chance = np.random.default_rng(16)
    options = csv.WriteOptions(quoting_style="none")
    first = _rows(chance, 0)
    with csv.CSVWriter(str(path), first.schema, write_options=options) as writer:
        for begin in range(0, rows, _AT_ONCE):
            writer.write_table(_rows(chance, min(_AT_ONCE, rows - begin)))


def _rows(chance: np.random.Generator, count: int) -> Any:
    import pyarrow

    columns: dict[str, Any] = {}
    for place, name in enumerate(FLOATS):
        values = np.round(chance.normal(10 * place, 1 + place, count), 4)
        columns[name] = pyarrow.array(values, mask=chance.random(count) < MISSING_SHARE)
    for name in COUNTS:
        columns[name] = pyarrow.array(
            chance.integers(0, 5_000, count), mask=chance.random(count) < MISSING_SHARE
        )
    for name, levels in LEVELS.items():
        codes = np.minimum(chance.geometric(min(0.5, 8 / levels), count) - 1, levels - 1)
        words = pyarrow.array([f"{name}-{level}" for level in range(levels)])
        mask = chance.random(count) < (MISSING_SHARE if name == "c0" else 0)
        columns[name] = words.take(pyarrow.array(codes, mask=mask))
    seconds = chance.integers(0, _SECONDS_OF_A_YEAR, count) + np.datetime64("2025-01-01", "s").astype(int)
    columns[TIME] = pyarrow.array(seconds.astype("M8[s]")).cast(pyarrow.string())
    columns[TARGET] = pyarrow.array((chance.random(count) < 0.3).astype(np.int64))
    return pyarrow.table(columns)
