"""The files of a job's sources, and their format. Nothing here reads samples, or loads what does."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import get_args

from sapflow.data.data_file import DataFile
from sapflow.data.files import FindFiles, find_files
from sapflow.errors import DataError
from sapflow.spec.learning import DataSpec, Format, SampleFormat
from sapflow.spec.sources import MEMORY

FORMATS: tuple[str, ...] = get_args(SampleFormat)
RAW_FORMATS: tuple[str, ...] = get_args(Format)
TABLES = ("csv", "parquet", "jsonl")
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
ENDINGS = {
    ".npz": "npz",
    "-ubyte": "idx",
    "-ubyte.gz": "idx",
    ".bin": "cifar",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".parquet": "parquet",
}
RAW_ENDINGS = {
    **ENDINGS,
    **{f".{name}.{packed}": name for name in ("csv", "jsonl") for packed in ("gz", "bz2", "xz", "zip")},
    **dict.fromkeys((".jsonl", ".ndjson", ".ndjson.gz"), "jsonl"),
    **dict.fromkeys(IMAGES, "images"),
}
"""Of files that are prepared."""


@contextmanager
def naming(field: str) -> Iterator[None]:
    """Make every DataError within begin with the field that it is about."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{field}: {error}") from error


def names_files(data: DataSpec) -> bool:
    """Whether some of a job's samples are in files."""
    return has_files(data.source) or (data.validation is not None and has_files(data.validation.source))


def data_files(data: DataSpec, read_s3: FindFiles | None = None) -> list[DataFile]:
    """All files that a job's samples are in, those for validation among them. Raises DataError."""
    raw = data.prepare is not None
    files = used_files(data.source, data.format, read_s3, raw=raw)[1] if has_files(data.source) else []
    asked = data.validation
    if asked is not None and has_files(asked.source):
        files += used_files(asked.source, asked.format, read_s3)[1]
    return files


def has_files(source: str) -> bool:
    """Whether a source consists of files."""
    return source.partition(":")[0] not in ("sklearn", "synthetic", "generated", MEMORY)


def used_files(
    source: str, format: str | None = None, read_s3: FindFiles | None = None, *, raw: bool = False
) -> tuple[str, list[DataFile]]:
    """The format of a source of files, and those files that have samples; `raw`: rows to be prepared, for which folders
    within a folder are read, too. Raises DataError."""
    formats = RAW_FORMATS if raw else FORMATS
    if format is not None and format not in formats:
        raise DataError(f"unknown format {format!r}; formats are {', '.join(formats)}")
    files = find_files(source, read_s3, nested=raw)
    endings = RAW_ENDINGS if raw else ENDINGS
    if format is None:
        found = {_format(file, endings) for file in files} - {None}
        if len(found) != 1:
            seen = " and ".join(sorted(map(str, found))) or "unknown"
            raise DataError(
                f"the format of {source} cannot be told from the names of its files ({seen}); "
                f"give data.format: {', '.join(formats)}"
            )
        format = str(found.pop())
        files = [file for file in files if _format(file, endings) == format]
    if format in TABLES:
        # Spark writes an empty part for a task that had no rows.
        files = [file for file in files if file.size] or files
    for file in files:
        if file.size == 0 and format != "images":  # of those each is one row, which is told as a bad one
            raise DataError(f"{file.name} is empty")
    return format, files


def format_of(file: DataFile) -> str | None:
    """The format of raw rows that a file's name tells; None if it tells none."""
    return _format(file, RAW_ENDINGS)


def _format(file: DataFile, endings: Mapping[str, str]) -> str | None:
    for ending, format in endings.items():
        if file.name.endswith(ending):
            return format
    return None
