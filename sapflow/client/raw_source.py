"""What raw rows may be given as for predictions: the path of a file, a folder or a glob, or a table in memory."""

import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sapflow.data.data_file import DataFile
from sapflow.data.files import find_files
from sapflow.data.formats.arrow_tables import import_parquet
from sapflow.data.source_files import format_of, used_files
from sapflow.errors import DataError


@dataclass(frozen=True, slots=True)
class RawSource:
    """Raw rows in files of one format."""

    format: str
    files: list[DataFile]
    name: str
    """For messages."""


def is_table(given: object) -> bool:
    """Whether an object is a table with names: a pandas DataFrame, an Arrow table, or what gives Arrow's stream."""
    return _is_frame(given) or hasattr(given, "__arrow_c_stream__")


def is_raw(given: object) -> bool:
    """Whether an object can only be raw rows, where a model has a preparation: a path, or a table with names."""
    return isinstance(given, str | Path) or is_table(given)


def of_path(path: str | Path, format: str) -> RawSource:
    """Files by a path, a glob or s3://bucket/prefix?endpoint=URL. `format` is that of the model's source, which rows
    are taken to have where nothing else follows from the files' names. Raises DataError, StoreError."""
    formats = {format_of(file) for file in find_files(str(path), nested=True)} - {None}
    found = str(formats.pop()) if len(formats) == 1 else format
    return RawSource(found, used_files(str(path), found, raw=True)[1], str(path))


def of_text(content: bytes, name: str) -> RawSource:
    """The rows of a CSV file that is in memory."""
    return RawSource("csv", [_in_memory(name, content)], name)


def of_table(table: Any, columns: Collection[str]) -> RawSource:
    """The rows of a pandas DataFrame, or of an Arrow table; of its columns those that are among `columns`.

    Values keep their bits: the table is handed on as Parquet. Raises DataError where a column has values of several
    kinds, or pyarrow is missing.
    """
    parquet = import_parquet()
    import pyarrow

    name = "the DataFrame" if _is_frame(table) else "the table"
    try:
        if _is_frame(table):
            labels = [str(label) for label in table.columns]
            table = table.set_axis(labels, axis=1)
            arrow = pyarrow.Table.from_pandas(table[_known(labels, columns)], preserve_index=False)
        else:
            arrow = table if isinstance(table, pyarrow.Table) else pyarrow.table(table)
            arrow = arrow.select(_known(arrow.column_names, columns))
        content = io.BytesIO()
        parquet.write_table(arrow, content)
    except pyarrow.ArrowException as error:
        raise DataError(f"{name} has a column with values of several kinds, or of none: {error}") from error
    if not arrow.num_rows:
        raise DataError(f"{name} has no rows")
    return RawSource("parquet", [_in_memory(name, content.getvalue())], name)


def _known(names: list[str], columns: Collection[str]) -> list[str]:
    """The names of a table's columns that are known. Raises DataError where there are none, or one is there twice."""
    found = [name for name in names if name in columns]
    if twice := next((name for name in found if found.count(name) > 1), None):
        raise DataError(f"the column {twice!r} is there twice: rename one of them")
    if not found:
        raise DataError(
            f"the table has none of the columns that the model was trained on ({', '.join(list(columns)[:10])}): rows "
            "are given as the source had them"
        )
    return found


def _in_memory(name: str, content: bytes) -> DataFile:
    return DataFile(name, len(content), lambda: io.BytesIO(content), local=True)


def _is_frame(given: Any) -> bool:
    return hasattr(given, "columns") and hasattr(given, "iloc")
