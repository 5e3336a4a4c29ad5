"""Finds the seek points of a gzip file, one after another: the search for each begins at the one before it.

`indexed_gzip` finds where blocks begin, and what is unpacked before them. It cannot go on with an index that is not
finished, so it is given a file that begins at the last seek point, and its index is never larger than a partition's.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sapflow.data.data_file import DataFile
from sapflow.data.seekable import SeekableFile
from sapflow.errors import DataError
from sapflow.preparation.reading.gzip_parts import gzip_parts
from sapflow.preparation.reading.reader import PARTITION_BYTES
from sapflow.preparation.reading.seek_point import WINDOW_BYTES, SeekPoint
from sapflow.preparation.reading.unpacked_gzip import CHUNK_BYTES

SPACING_BYTES = 2 << 20
"""About how far apart the points are of which the last one before a border is taken."""
_READ_BYTES = 1 << 20
_HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
_INDEX = struct.Struct("<5sBBQQIII")
"""Of an exported index: its name, version, flags, the sizes packed and unpacked, the spacing, the size of windows, and
the number of points."""
_POINT = struct.Struct("<QQBB")
"""The offsets packed and unpacked, the bits, and whether there is a window."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found: the seek point, or the size of what is unpacked where the border is not within."""

    point: SeekPoint | None
    size: int | None


def search(file: DataFile, border: int, before: SeekPoint | None) -> Found:
    """The seek point for a border of partitions, from number 1 on; `before` is that of the border before it, None for
    the first. Raises DataError where the file is damaged."""
    import indexed_gzip  # only functions that prepare have it

    if not file.size:
        return Found(None, 0)
    base = 0 if before is None else before.unpacked - len(before.window)
    wanted = border * PARTITION_BYTES + 1 - base
    with file.open() as packed:
        stream: BinaryIO = (
            packed if before is None else io.BufferedReader(_FromPoint(packed, file.size, before))
        )
        try:
            with indexed_gzip.IndexedGzipFile(
                fileobj=stream,
                spacing=SPACING_BYTES,
                window_size=WINDOW_BYTES,
                readbuf_size=_READ_BYTES,
                skip_crc_check=True,
            ) as unpacked:
                there = unpacked.seek(wanted)
                if there < wanted:
                    return Found(None, base + there)
                index = io.BytesIO()
                unpacked.export_index(fileobj=index)
        except indexed_gzip.ZranError as error:
            # Our own reading says better what is wrong. Where nothing is packed, nothing is.
            size = 0 if before is None else before.unpacked
            size += sum(len(part.data) for part in gzip_parts(packed, file.name, before))
            if size <= border * PARTITION_BYTES:
                return Found(None, size)
            raise DataError(f"{file.name} is corrupt: {error}") from error
    limit = border * PARTITION_BYTES - CHUNK_BYTES
    points = [each for each in _points(index.getvalue(), before) if each.unpacked <= limit]
    return Found(points[-1] if points else before, None)


def _points(index: bytes, before: SeekPoint | None) -> Iterator[SeekPoint]:
    """The points of an exported index in the file itself."""
    *_, window_size, count = _INDEX.unpack_from(index)
    at = _INDEX.size + count * _POINT.size
    # What stands at the beginning of the stream in place of the file's.
    opening = 0 if before is None else len(_HEADER) + len(before.opening(0))
    for packed, unpacked, bits, has_window in _POINT.iter_unpack(index[_INDEX.size : at]):
        window = index[at : at + window_size] if has_window else b""
        at += len(window)
        if before is None:
            yield SeekPoint(packed, bits, unpacked, window)
        elif packed > opening:
            moved = before.unpacked - len(before.window) + unpacked
            yield SeekPoint(before.packed + packed - opening, bits, moved, window)


class _FromPoint(SeekableFile):
    """A gzip file of what follows a seek point, the point's window before it."""

    def __init__(self, packed: BinaryIO, size: int, point: SeekPoint) -> None:
        packed.seek(point.first)
        self._opening = _HEADER + point.opening(packed.read(1)[0] if point.bits else 0)
        self._packed, self._begin = packed, point.packed
        super().__init__(len(self._opening) + size - point.packed)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has no public buffer type
        target = memoryview(buffer).cast("B")
        if self._at < len(self._opening):
            data = self._opening[self._at : self._at + len(target)]
        else:
            self._packed.seek(self._begin + self._at - len(self._opening))
            data = self._packed.read(len(target))
        target[: len(data)] = data
        self._at += len(data)
        return len(data)
