"""What is packed in a gzip file, unpacked part by part, from its beginning or from a seek point on.

A file may have several members one after another, as `cat a.gz b.gz` and bgzip make them.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from sapflow.errors import DataError
from sapflow.preparation.reading.seek_point import SeekPoint

PART_BYTES = 256 << 10
_FETCHED_BYTES = 1 << 20
_FED_BYTES = 64 << 10
_MAGIC = b"\x1f\x8b\x08"
_HEADER_CHECK, _EXTRA, _NAME, _COMMENT = 2, 4, 8, 16


@dataclass(frozen=True, slots=True)
class Trailer:
    """What a member says at its end of all that was packed in it."""

    check: int
    """Its CRC-32."""
    size: int
    """Its number of bytes modulo 2³²."""

    def refuse_other(self, check: int, size: int, name: str) -> None:
        """Raise DataError unless these are of what was unpacked."""
        if (check, size % 2**32) != (self.check, self.size):
            raise DataError(
                f"{name} is corrupt: what is unpacked is not what was packed (its CRC-32 is {check:08x}, and the file "
                f"says {self.check:08x}): copy it anew, or pack it anew"
            )


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive bytes, up to PART_BYTES. Where a member ends, an empty one has its trailer."""

    data: bytes
    ended: Trailer | None = None


def gzip_parts(packed: BinaryIO, name: str, point: SeekPoint | None = None) -> Iterator[Part]:
    """The parts of a file from its beginning, or from a point on, to its end. Raises DataError where it is damaged; the
    trailer of a member that begins before the point is the caller's to check."""
    source = _Packed(packed, name, 0 if point is None else point.first)
    opening, left = b"", 0
    if point is None:
        source.pass_header()
    else:
        opening, left = point.opening(source.take(1)[0] if point.bits else 0), len(point.window)
    from_start = point is None
    while True:
        check = size = 0
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        for data in _inflated(inflater, source, opening):
            passed, left = min(left, len(data)), max(0, left - len(data))
            if some := data[passed:]:
                check, size = zlib.crc32(some, check), size + len(some)
                yield Part(some)
        source.put_back(inflater.unused_data)
        trailer = Trailer(*struct.unpack("<II", source.take(8)))
        if from_start:
            trailer.refuse_other(check, size, name)
        yield Part(b"", trailer)
        if not source.pass_padding():
            return
        source.pass_header()
        opening, from_start = b"", True


def _inflated(inflater: "zlib._Decompress", source: "_Packed", opening: bytes) -> Iterator[bytes]:
    """What is packed in a member up to its end."""
    given = opening
    while not inflater.eof:
        try:
            data = inflater.decompress(given, PART_BYTES)
        except zlib.error as error:
            raise DataError(f"{source.name} is corrupt: {error}") from error
        if data:
            yield data
        given = inflater.unconsumed_tail
        if not given and len(data) < PART_BYTES and not inflater.eof:
            given = source.some()
            if not given:
                raise source.ended()


class _Packed:
    """The bytes of the file, one after another."""

    def __init__(self, stream: BinaryIO, name: str, begin: int) -> None:
        self.name = name
        self._stream, self._held, self._at = stream, b"", 0
        stream.seek(begin)

    def some(self) -> bytes:
        """Up to _FED_BYTES; none at the end."""
        if self._at == len(self._held):
            self._held, self._at = self._stream.read(_FETCHED_BYTES), 0
        found = self._held[self._at : self._at + _FED_BYTES]
        self._at += len(found)
        return found

    def put_back(self, data: bytes) -> None:
        """Give back the last bytes of what `some` has given last."""
        self._at -= len(data)

    def take(self, count: int) -> bytes:
        """So many bytes. Raises DataError where the file ends before."""
        found = self._next(count)
        if len(found) < count:
            raise self.ended()
        return found

    def _next(self, count: int) -> bytes:
        """So many bytes, or fewer where the file ends."""
        found = b""
        while len(found) < count and (more := self.some()):
            self.put_back(more[count - len(found) :])
            found += more[: count - len(found)]
        return found

    def pass_padding(self) -> bool:
        """Pass bytes 0 between members; whether something follows."""
        while more := self.some():
            if rest := more.lstrip(b"\0"):
                self.put_back(rest)
                return True
        return False

    def pass_header(self) -> None:
        """Pass the header of a member (RFC 1952, 2.3). Raises DataError if there is none."""
        if self._next(len(_MAGIC)) != _MAGIC:
            raise DataError(f"{self.name} is corrupt: there is no gzip member where one should begin")
        flags = self.take(7)[0]
        if flags & _EXTRA:
            self.take(struct.unpack("<H", self.take(2))[0])
        for flag in (_NAME, _COMMENT):
            while flags & flag and self.take(1) != b"\0":
                pass
        if flags & _HEADER_CHECK:
            self.take(2)

    def ended(self) -> DataError:
        """The error that the file ends within a member."""
        return DataError(
            f"{self.name} is corrupt: it ends before what is packed in it does: copy it anew, or pack it anew"
        )
