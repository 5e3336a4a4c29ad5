"""Parquet files and what else has typed columns: each row is a sample."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sapflow.data import labels
from sapflow.data.chunks import Chunk, Source, rows_per_chunk
from sapflow.data.data_file import DataFile
from sapflow.data.formats.columns import Columns, SetColumns, TableOptions
from sapflow.data.group_split import digests
from sapflow.data.options import parse
from sapflow.errors import DataError


def parquet_source(
    files: Sequence[DataFile], options: Mapping[str, object], training: Source | None = None
) -> Source:
    """Parquet files of one set, read by row groups; `training`: the source of the samples for training, where these
    are for validation.

    Raises DataError, also if pyarrow is missing.
    """
    chosen = parse(TableOptions, options, "the format parquet")
    columns = SetColumns(None if training is None else training.table)
    import_parquet()

    def chunks() -> Iterator[Chunk]:
        for file in files:
            here: Columns | None = None
            for names, index, batch, done in read(file):
                if here is None:
                    here = columns.of_file(names, len(names), chosen, file.name, index)
                arrays = {
                    place: to_numpy(batch.columns[place], names[place], file.name, done)
                    for place in here.used
                }
                yield table_chunk(arrays, here, chosen, file.name, done)

    return chosen.source(
        files[0].name,
        chunks,
        table=columns,
    )


def import_parquet() -> Any:
    """The module pyarrow.parquet. Raises DataError if it is missing."""
    try:
        import pyarrow.parquet  # large, and of use for this format alone
    except ImportError as error:
        raise DataError(
            "the format parquet needs pyarrow, which is not installed: pip install 'sapflow[data]'"
        ) from error
    return pyarrow.parquet


def read(file: DataFile) -> Iterator[tuple[list[str], set[str], Any, int]]:
    """(names of all columns, those of pandas' index, some rows as an Arrow batch, the first one's number)."""
    parquet = import_parquet()
    import pyarrow

    refused = (pyarrow.ArrowException, OSError)
    with file.open() as stream:
        try:
            table = parquet.ParquetFile(stream)
            names = list(table.schema_arrow.names)
            index = index_of(table.schema_arrow)
        except refused as error:
            raise DataError(f"{file.name} is no readable Parquet file: {error}") from error
        rows = rows_per_chunk((len(names),), 16, file.name)
        done = 0
        batches = table.iter_batches(batch_size=rows)
        while True:
            try:
                batch = next(batches, None)
            except refused as error:
                raise DataError(f"{file.name} is corrupt after row {done}: {error}") from error
            if batch is None:
                return
            yield names, index, batch, done
            done += batch.num_rows


def index_of(schema: Any) -> set[str]:
    """The columns of an Arrow schema in which pandas keeps a frame's index, which are no columns of the frame."""
    try:
        told = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    except ValueError:
        return set()
    found = told.get("index_columns") if isinstance(told, dict) else None
    return {each for each in found or () if isinstance(each, str)}


def to_numpy(column: Any, name: str, origin: str, row: int) -> np.ndarray:
    """A column of an Arrow table whose first row is `row`. Raises DataError where a value is missing."""
    if column.null_count:
        first = next(i for i, valid in enumerate(column.is_valid()) if not valid.as_py())
        raise DataError(f"{origin}, row {row + first} (the first is 0), column {name}: there is no value")
    if hasattr(column, "dictionary_decode"):
        column = column.dictionary_decode()
    return np.asarray(column.to_numpy(zero_copy_only=False))


def numbers(arrays: Mapping[int, np.ndarray], columns: Columns, origin: str, row: int) -> np.ndarray:
    """The features [n, k] of a table's columns, which are given by their place. Raises DataError, which names the
    column."""
    for place in columns.features:
        array, name = arrays[place], columns.names[place]
        if array.dtype.kind not in "buif":
            raise DataError(
                f"{origin}, column {name}: {_kind(array)}; features must be numbers: encode it, or leave it out"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(np.argmin(np.isfinite(array)))
            raise DataError(
                f"{origin}: row {row + bad} (the first is 0) has the feature {array[bad]} in column {name}; features "
                "must be finite float32 numbers"
            )
    return np.stack([arrays[place] for place in columns.features], axis=1)


def table_chunk(
    arrays: Mapping[int, np.ndarray], columns: Columns, options: TableOptions, origin: str, row: int
) -> Chunk:
    """Samples of a table's columns, which are given by their place, from `row` on. Raises DataError."""
    features = numbers(arrays, columns, origin, row)
    for place in columns.targets:
        array, name = arrays[place], columns.names[place]
        if array.dtype.kind in "buif":
            continue
        if len(columns.targets) > 1:
            raise DataError(f"{origin}, column {name}: {_kind(array)}; several targets must be numbers")
        if not labels.are_words(array):
            raise DataError(f"{origin}, column {name}: {_kind(array)}; targets must be numbers or words")
    chosen = [arrays[place] for place in columns.targets]
    targets = np.stack(chosen, axis=1) if len(chosen) > 1 else chosen[0]
    return Chunk(
        features,
        options.numbered(targets, origin, row),
        origin,
        row,
        columns=columns.feature_names,
        groups=None if columns.group is None else _groups(arrays[columns.group], columns, origin, row),
    )


def _groups(array: np.ndarray, columns: Columns, origin: str, row: int) -> np.ndarray:
    """The digests of a column of groups. Raises DataError, which names the column."""
    assert columns.group is not None, "the caller asks"
    name = columns.names[columns.group]
    missing = np.zeros(len(array), bool)
    if array.dtype.kind == "f":
        missing = np.isnan(array)
    elif array.dtype.kind == "M":
        missing = np.isnat(array)
    elif array.dtype.kind not in "buiU" and not labels.are_words(array):
        raise DataError(
            f"{origin}, column {name}: {_kind(array)}; groups are told by words, numbers or times: write it as one"
        )
    if missing.any():
        first = row + int(missing.argmax())
        raise DataError(f"{origin}, row {first} (the first is 0), column {name}: there is no group")
    return digests(
        array.astype(str).tolist() if array.dtype.kind == "M" else map(labels.as_word, array.tolist())
    )


def _kind(array: np.ndarray) -> str:
    """What a column holds, in words."""
    if array.dtype.kind == "O" and len(array):
        return f"a column of {type(array[0]).__name__}, such as {str(array[0])[:40]!r}"
    return f"a column of type {array.dtype}"
