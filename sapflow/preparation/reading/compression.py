"""Compressed files of a source, unpacked front to back."""

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.reading.zstandard_file import UnpackedZstandard

ENDINGS = (".gz", ".bz2", ".xz", ".lzma", ".zip", ".zst")
BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)
"""What reading a damaged file raises."""
MEND_PACKED = "copy it anew, pack it anew, or give it another name if it is not packed"


def is_packed(name: str) -> bool:
    """Whether a file's name says that it is compressed."""
    return name.lower().endswith(ENDINGS)


def has_seek_points(name: str) -> bool:
    """Whether a file's name says that it is one of gzip, of which any part can be unpacked."""
    return name.lower().endswith(".gz")


@contextmanager
def unpacked(file: DataFile) -> Iterator[BinaryIO]:
    """The file's stream as it was before it was compressed. Raises DataError, also where reading it fails."""
    name = file.name.lower()
    try:
        with file.open() as raw:
            if name.endswith(".zip"):
                with (
                    zipfile.ZipFile(raw) as archive,
                    archive.open(_only_member(archive, file.name)) as stream,
                ):
                    yield cast(BinaryIO, stream)
            elif name.endswith(".gz"):
                with gzip.GzipFile(fileobj=raw, mode="rb") as packed:
                    yield cast(BinaryIO, packed)
            elif name.endswith(".bz2"):
                with bz2.BZ2File(raw) as packed_bz2:
                    yield cast(BinaryIO, packed_bz2)
            elif name.endswith((".xz", ".lzma")):
                with lzma.LZMAFile(raw) as packed_xz:
                    yield cast(BinaryIO, packed_xz)
            elif name.endswith(".zst"):
                with UnpackedZstandard(raw) as packed_zst:
                    yield cast(BinaryIO, packed_zst)
            else:
                yield raw
    except BROKEN as error:
        raise DataError(f"{file.name} cannot be read: {error}: {MEND_PACKED}") from error


def _only_member(archive: zipfile.ZipFile, name: str) -> str:
    members = [each.filename for each in archive.infolist() if not each.is_dir()]
    members = [
        each for each in members if not each.rpartition("/")[2].startswith(".") and "__MACOSX" not in each
    ]
    if len(members) != 1:
        shown = ", ".join(members[:5]) or "none"
        raise DataError(
            f"{name} holds {len(members)} files ({shown}): a .zip is read if it holds one; unpack it"
        )
    return members[0]
