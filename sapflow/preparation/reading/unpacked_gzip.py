"""A gzip file as one that is not packed: any of its bytes can be read, each from the seek point before it.

It is unpacked in chunks, and the last ones are kept, so what is read goes back and forth at little cost.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from sapflow.data.data_file import DataFile
from sapflow.data.seekable import SeekableFile
from sapflow.errors import DataError
from sapflow.preparation.reading.gzip_parts import Part, Trailer, gzip_parts
from sapflow.preparation.reading.members import MembersOfRange
from sapflow.preparation.reading.reader import PARTITION_BYTES
from sapflow.preparation.reading.seek_point import SeekPoint

CHUNK_BYTES = 1 << 20
_KEPT = 12
"""Chunks that are kept: a scan goes forward by 4 MiB, and back as far."""
_PASSED_BYTES = 4 << 20
"""So much is rather unpacked than that a seek point is read."""
Points = Callable[[int], SeekPoint]
"""The seek point before each border of partitions, from number 1 on: at least CHUNK_BYTES before it."""


def unpacked_file(file: DataFile, size: int, points: Points) -> DataFile:
    """The file as if it were not packed; `size` is then its size in bytes."""

    def opened() -> BinaryIO:
        return cast(BinaryIO, UnpackedGzip(file, size, points))

    return replace(file, size=size, open=opened, local=False, unpacked=True)


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Consecutive bytes."""

    begin: int
    """The offset of the first; a multiple of CHUNK_BYTES."""
    data: bytes
    ends: tuple[tuple[int, Trailer], ...]
    """The offsets at which members end, from behind `begin` to the end of the chunk."""


class UnpackedGzip(SeekableFile):
    """What is packed in a file, for reading and seeking."""

    def __init__(self, file: DataFile, size: int, points: Points) -> None:
        super().__init__(size)
        self._file, self._points = file, points
        self._packed = file.open()
        self._chunks: OrderedDict[int, _Chunk] = OrderedDict()
        self._following: Iterator[_Chunk] = iter(())
        self._next: int | None = None
        """The offset of the chunk that comes next."""
        self._members: MembersOfRange | None = None

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer at the end alone. Raises DataError where the file is damaged."""
        end = self._size if size < 0 else min(self._size, self._at + size)
        found = []
        while self._at < end:
            chunk = self._chunk(self._at - self._at % CHUNK_BYTES)
            some = chunk.data[self._at - chunk.begin : end - chunk.begin]
            found.append(some)
            self._at += len(some)
        return b"".join(found)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has no public buffer type
        target = memoryview(buffer).cast("B")
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def count(self, begin: int, end: int) -> None:
        """Note from now on what members have between two multiples of CHUNK_BYTES (or the end of what is unpacked)."""
        self._members = MembersOfRange(begin, end, self._file.name)

    def counted(self) -> MembersOfRange:
        """What was noted since `count`; what was not read is read for it. Raises DataError."""
        assert self._members is not None, "count comes before"
        while not self._members.complete:
            self._chunk(self._members.at)
        return self._members

    def _chunk(self, begin: int) -> _Chunk:
        """The chunk that begins there."""
        chunk = self._chunks.get(begin)
        if chunk is None:
            chunk = self._unpacked(begin)
        self._chunks.move_to_end(begin)
        if self._members is not None and begin == self._members.at and not self._members.complete:
            _note(chunk, self._members)
        return chunk

    def _unpacked(self, begin: int) -> _Chunk:
        ahead = None if self._next is None else begin - self._next
        if ahead is None or not 0 <= ahead <= _PASSED_BYTES:
            point = self._before(begin)
            self._following = _chunks(gzip_parts(self._packed, self._file.name, point), point)
        for chunk in self._following:
            self._next = chunk.begin + CHUNK_BYTES
            # Those that are passed are kept, too: reading goes back to them.
            self._chunks[chunk.begin] = chunk
            if len(self._chunks) > _KEPT:
                self._chunks.popitem(last=False)
            if chunk.begin == begin:
                last = min(self._size, self._next)
                if begin + len(chunk.data) != last:
                    break
                return chunk
        raise DataError(
            f"{self._file.name} is corrupt, or it was changed while it was read: it does not unpack to "
            f"{self._size:,} bytes; copy it anew, or begin the job anew"
        )

    def _before(self, begin: int) -> SeekPoint | None:
        """The last seek point from which on that chunk can be unpacked; None: the beginning."""
        border = (begin + CHUNK_BYTES) // PARTITION_BYTES
        if border * PARTITION_BYTES >= self._size:
            border -= 1
        return self._points(border) if border > 0 else None


def _note(chunk: _Chunk, members: MembersOfRange) -> None:
    data, at = memoryview(chunk.data), chunk.begin
    for offset, trailer in chunk.ends:
        members.add(data[at - chunk.begin : offset - chunk.begin])
        members.ends(trailer)
        at = offset
    members.add(data[at - chunk.begin :])


def _chunks(parts: Iterator[Part], point: SeekPoint | None) -> Iterator[_Chunk]:
    """Parts from a point on as chunks, from the first one on that is in them from its beginning.

    The end of a member belongs to the chunk whose last byte may be the member's: so it is once in a range, whichever
    point that is unpacked from.
    """
    at = 0 if point is None else point.unpacked
    begin = -(-at // CHUNK_BYTES) * CHUNK_BYTES
    held, ends = bytearray(), list[tuple[int, Trailer]]()
    for part in parts:
        if part.ended is not None:
            if at > begin or at == 0:
                ends.append((at, part.ended))
            continue
        # A chunk that is full waits for whether a member ends with it.
        data, at = part.data[max(0, begin - at) :] if at < begin else part.data, at + len(part.data)
        held += data
        while len(held) > CHUNK_BYTES:
            yield _Chunk(begin, bytes(held[:CHUNK_BYTES]), tuple(ends))
            del held[:CHUNK_BYTES]
            begin, ends = begin + CHUNK_BYTES, []
    if held:
        yield _Chunk(begin, bytes(held), tuple(ends))
