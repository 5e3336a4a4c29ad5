"""A single file that a spec names beside its source, such as a tokenizer."""

from collections.abc import Iterable

from sapflow.data.data_file import DataFile
from sapflow.data.files import FindFiles, find_files
from sapflow.errors import DataError

MAX_BYTES = 32 << 20


def named_file(name: str, find: FindFiles | None = None) -> DataFile:
    """The file at a path, or at `s3://bucket/key`. Raises DataError, StoreError."""
    base = name.partition("?")[0].rpartition("/")[2]
    found = [file for file in find_files(name, find) if file.base == base]
    if len(found) != 1:
        raise DataError(f"{name} is no file: name one file, by its path or as s3://bucket/key")
    if found[0].size > MAX_BYTES:
        raise DataError(f"{name} has {found[0].size:,} bytes, more than {MAX_BYTES:,}")
    return found[0]


def named_texts(names: Iterable[str], find: FindFiles | None = None) -> dict[str, str]:
    """What is in each of several files, which must be UTF-8. Raises DataError, StoreError."""
    return {name: _text(name, named_file(name, find)) for name in names}


def _text(name: str, file: DataFile) -> str:
    with file.open() as stream:
        data = stream.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is no text in UTF-8") from error
