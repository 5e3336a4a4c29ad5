"""Small partitions of text, and gzip files whose seek points tests find."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sapflow.data.data_file import DataFile
from sapflow.preparation.reading import gzip_beginning, pieces, seek_search, text_cut, unpacked_gzip
from sapflow.preparation.reading.seek_point import WINDOW_BYTES, SeekPoint
from sapflow.preparation.reading.unpacked_gzip import unpacked_file


@contextmanager
def small_partitions(size: int, chunk: int) -> Iterator[None]:
    """Partitions of `size` bytes of text, a multiple of `chunk`, in which packed files are unpacked."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (gzip_beginning, pieces, seek_search, text_cut, unpacked_gzip):
            patch.setattr(module, "PARTITION_BYTES", size)
        for module in (seek_search, unpacked_gzip):
            patch.setattr(module, "CHUNK_BYTES", chunk)
        patch.setattr(seek_search, "SPACING_BYTES", WINDOW_BYTES + 1)
        patch.setattr(unpacked_gzip, "_PASSED_BYTES", chunk)
        yield


def members(data: bytes, size: int, *, level: int = 6) -> bytes:
    """A gzip file with a member of so many bytes each, and an empty one at its end, as bgzip makes it."""
    packed = [gzip.compress(data[at : at + size], level, mtime=0) for at in range(0, len(data), size)]
    return b"".join([*packed, gzip.compress(b"", mtime=0)])


def seek_points(file: DataFile) -> tuple[dict[int, SeekPoint], int]:
    """The seek points of a file by their borders, and its unpacked size."""
    found: dict[int, SeekPoint] = {}
    while True:
        searched = seek_search.search(file, len(found) + 1, found.get(len(found)))
        if searched.point is None:
            assert searched.size is not None
            return found, searched.size
        found[len(found) + 1] = searched.point


def indexed(file: DataFile) -> DataFile:
    """The file as if it were not packed."""
    points, size = seek_points(file)
    return unpacked_file(file, size, points.__getitem__)
