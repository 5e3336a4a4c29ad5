"""The readers of raw data by the format of the files.

To add a format, write its module and name it here.
"""

from importlib import import_module

from sapflow.errors import DataError
from sapflow.preparation.reading.reader import Reader

_READERS: dict[str, tuple[str, str]] = {
    "csv": ("sapflow.preparation.reading.csv_reader", "CsvReader"),
    "idx": ("sapflow.preparation.reading.idx_reader", "IdxReader"),
    "images": ("sapflow.preparation.reading.image_reader", "ImageReader"),
    "jsonl": ("sapflow.preparation.reading.jsonl_reader", "JsonLinesReader"),
    "npz": ("sapflow.preparation.reading.npz_reader", "NpzReader"),
    "parquet": ("sapflow.preparation.reading.parquet_reader", "ParquetReader"),
}
"""Module and class by format. A module is loaded when the first source of its format is read."""


def reader_of(format: str) -> Reader:
    """The reader of files of this format. Raises DataError if there is none."""
    if format not in _READERS:
        raise DataError(
            f"raw files of format {format!r} cannot be prepared; data.format may be {', '.join(_READERS)}"
        )
    module, name = _READERS[format]
    reader: Reader = getattr(import_module(module), name)()
    return reader
