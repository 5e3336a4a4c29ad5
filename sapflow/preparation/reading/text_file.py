"""One file of text, compressed or not: its bytes, and its text as UTF-8."""

import codecs
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError
from sapflow.preparation.reading.compression import BROKEN, MEND_PACKED, has_seek_points, is_packed, unpacked

READ_BYTES = 4 << 20
_BOM = codecs.BOM_UTF8
_UNDECODABLE = "sapflow.undecodable"
# A lone surrogate is no UTF-8 when it is encoded again, so its record is told from the others like any that is none.
codecs.register_error(_UNDECODABLE, lambda error: ("\udc80", getattr(error, "end", 0)))


@dataclass(frozen=True, slots=True)
class Encoding:
    """An encoding of Python's, by the name that its codec has."""

    name: str = "utf-8"

    @property
    def is_utf8(self) -> bool:
        return self.name in ("utf-8", "utf-8-sig", "ascii")

    @property
    def one_byte(self) -> bool:
        """Whether every byte is a character by itself, and those of ASCII are themselves, or it is UTF-8: then newlines
        and other marks can be found without decoding."""
        if self.is_utf8:
            return True
        ascii_bytes = bytes(range(128))
        try:
            if ascii_bytes.decode(self.name) != ascii_bytes.decode("ascii"):
                return False
        except UnicodeDecodeError:
            return False
        decoder = codecs.getincrementaldecoder(self.name)("replace")
        return all(decoder.decode(bytes([byte])) for byte in range(128, 256))


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file and its encoding."""

    file: DataFile
    encoding: Encoding = Encoding()

    @property
    def can_be_cut(self) -> bool:
        """Whether its records can be found from any of its bytes on."""
        return self.encoding.one_byte and (self.file.unpacked or not is_packed(self.file.name))

    @property
    def needs_seek_points(self) -> bool:
        """Whether it can be cut once the seek points of its file are known."""
        return self.encoding.one_byte and not self.file.unpacked and has_seek_points(self.file.name)

    @contextmanager
    def reading(self) -> Iterator[Callable[[int, int], bytes]]:
        """A function that gives the file's bytes from one offset to another."""
        with self.file.open() as stream:
            yield self.reading_of(stream)

    def reading_of(self, stream: BinaryIO) -> Callable[[int, int], bytes]:
        """`reading` of the file's stream, which the caller has opened."""

        def read(begin: int, end: int) -> bytes:
            stream.seek(begin)
            found = stream.read(end - begin)
            if len(found) < min(end, self.file.size) - begin:
                raise DataError(
                    f"{self.file.name} ends at {begin + len(found)} of {self.file.size} bytes: it was changed"
                )
            return found

        return read

    def origin(self, read: Callable[[int, int], bytes]) -> int:
        """Where its text begins, after a byte order mark."""
        return len(_BOM) if self.encoding.is_utf8 and read(0, len(_BOM)) == _BOM else 0

    def pieces(self, begin: int = 0, end: int | None = None, step: int | None = None) -> Iterator[bytes]:
        """Its text from one offset to another (None: to its end), or of a file that cannot be cut from an offset of its
        text on, in pieces of UTF-8 for which `step` bytes are read (None: READ_BYTES). Raises DataError."""
        if self.can_be_cut:
            yield from self._utf8(
                self._bytes(begin, self.file.size if end is None else end, step or READ_BYTES)
            )
            return
        left = begin
        for piece in self._utf8(self._stream()):
            if left < len(piece):
                yield piece[left:]
            left = max(0, left - len(piece))

    def begin(self) -> int:
        """Where its text begins, as `pieces` counts."""
        if not self.can_be_cut:
            return 0
        with self.reading() as read:
            return self.origin(read)

    def _bytes(self, begin: int, end: int, step: int) -> Iterator[bytes]:
        with self.reading() as read:
            for at in range(begin, end, step):
                yield read(at, min(end, at + step))

    def _stream(self) -> Iterator[bytes]:
        with unpacked(self.file) as stream:
            while piece := _some(stream.read, self.file.name):
                yield piece

    def _utf8(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        if self.encoding.is_utf8:
            if self.can_be_cut:
                yield from pieces
                return
            first = next(pieces, b"")
            yield first.removeprefix(_BOM)
            yield from pieces
            return
        decoder = codecs.getincrementaldecoder(self.encoding.name)(_UNDECODABLE)
        start = True
        for piece in pieces:
            text = decoder.decode(piece)
            if start and text:
                text, start = text.removeprefix("\ufeff"), False
            yield text.encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")


def _some(read: Callable[[int], bytes], name: str) -> bytes:
    try:
        return read(READ_BYTES)
    except BROKEN as error:
        raise DataError(f"{name} is corrupt: {error}: {MEND_PACKED}") from error
