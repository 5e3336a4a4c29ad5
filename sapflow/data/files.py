"""The files of a source: found by path, folder, glob or S3 prefix, and opened as binary streams."""

import glob
import gzip
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from sapflow.data.data_file import DataFile
from sapflow.data.folder import HIDDEN, in_folder, in_nested
from sapflow.errors import DataError

SOURCES = (
    "sklearn:NAME, synthetic:binary, generated:mnist, generated:cifar, s3://bucket/prefix?endpoint=URL, "
    "or the path of a file, folder or glob"
)


_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
FindFiles = Callable[..., Sequence[DataFile]]
"""Is called with the URL of a source, and with `nested=True` where the folders within it are read, too."""


def find_files(source: str, read_s3: FindFiles | None = None, *, nested: bool = False) -> list[DataFile]:
    """The files that `source` names, sorted by name, empty ones among them; `nested`: and those in folders within it.
    Raises DataError if there are none."""
    if source.startswith("s3://"):
        if read_s3 is None:
            from sapflow.data.remote import s3_files  # only this needs its client

            read_s3 = s3_files
        files = list(read_s3(source, nested=True) if nested else read_s3(source))
    else:
        files = _local(source.removeprefix("file://"), nested=nested)
    if not files:
        raise DataError(_nothing_at(source))
    return sorted(files, key=lambda file: file.name)


def _nothing_at(source: str) -> str:
    """What is wrong with a source that names no file."""
    if not source.startswith("s3://") and Path(source).expanduser().is_dir():
        return f"the folder {source} holds no files that are read: hidden ones are not"
    if _WINDOWS.match(source) and os.name != "nt":
        return (
            f"there is no file at {source}, which is a path of Windows: name the file as this machine sees it "
            "(in WSL C:\\ is /mnt/c/)"
        )
    return f"there is no file at {source}; a source is {SOURCES}"


def _local(pattern: str, *, nested: bool = False) -> list[DataFile]:
    path = Path(pattern).expanduser()
    if path.is_file():
        found = [path]
    elif path.is_dir() and nested:
        names = [one.relative_to(path).as_posix() for one in path.rglob("*") if one.is_file()]
        found = [path / name for name in in_nested(names)]
    elif path.is_dir():
        names = [f"{child.name}/" if child.is_dir() else child.name for child in path.iterdir()]
        found = [path / name for name in in_folder(names, pattern) if (path / name).is_file()]
    else:
        found = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
        fixed = next((at for at, part in enumerate(path.parts) if glob.has_magic(part)), 0)
        asked = path.name.startswith(HIDDEN)
        found = [
            one
            for one in found
            if not any(part.startswith(HIDDEN) for part in one.parts[fixed : -1 if asked else None])
        ]
    return [local_file(one) for one in found]


def local_file(path: Path) -> DataFile:
    """The file at a path. Raises OSError if there is none."""
    status = path.stat()
    tag = f"{status.st_mtime_ns}-{status.st_ctime_ns}-{status.st_ino}"
    return DataFile(str(path), status.st_size, _opener(path), tag, local=True)


def _opener(path: Path) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        try:
            return path.open("rb")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error

    return opened


@contextmanager
def unpacked(file: DataFile) -> Iterator[BinaryIO]:
    """The file's stream, decompressed if its name ends with .gz."""
    with file.open() as raw:
        if not file.name.endswith(".gz"):
            yield raw
            return
        with gzip.GzipFile(fileobj=raw, mode="rb") as packed:
            yield cast(BinaryIO, packed)
