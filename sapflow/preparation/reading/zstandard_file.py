"""Files that Zstandard has packed, front to back.

The `zstandard` package takes the end of its input for the end of what was packed. So the frames (RFC 8878, 3.1) are
followed on the way, and a file that ends within one is told.
"""

import io
from typing import Any, BinaryIO, cast

MAX_WINDOW_BYTES = 128 << 20
"""How far back a file may refer, and so about what unpacking it may take: what `zstd --long` asks for."""
_SKIPPED = 0x184D2A50
"""The magic number of frames that say nothing, but for its last four bits."""
_REPEATED = 1
"""The kind of a block of one byte, which is repeated."""
_DICTIONARY_BYTES = (0, 1, 2, 4)
_SIZE_BYTES = (0, 2, 4, 8)
_BLOCK_HEADER, _CHECKSUM = 3, 4


class UnpackedZstandard(io.RawIOBase):
    """What is packed in a stream. Reading raises OSError where it is damaged."""

    def __init__(self, packed: BinaryIO) -> None:
        import zstandard  # of use for such files alone

        super().__init__()
        self._frames = _Frames(packed)
        decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self._reader: Any = decompressor.stream_reader(cast(BinaryIO, self._frames), read_across_frames=True)
        self._error = zstandard.ZstdError

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has no public buffer type
        try:
            count = int(self._reader.readinto(buffer))
        except self._error as error:
            raise OSError(f"{error} (windows have up to {MAX_WINDOW_BYTES >> 20} MiB)") from error
        if not count and not self._frames.complete:
            raise OSError("the file ends before what is packed in it does")
        return count


class _Frames:
    """Hands the bytes of a stream on, and follows which parts of frames they are."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._held = b""
        """The bytes of the part at hand, if it says something."""
        self._wanted, self._skipped = 4, 0
        self._part = self._begin
        self._checksum = False

    @property
    def complete(self) -> bool:
        """Whether no frame has begun that did not end."""
        return self._part == self._begin and not self._held and not self._skipped

    def read(self, size: int) -> bytes:
        """Up to so many bytes."""
        data = self._packed.read(size)
        at = 0
        while at < len(data):
            if self._skipped:
                passed = min(self._skipped, len(data) - at)
                self._skipped, at = self._skipped - passed, at + passed
                continue
            some = data[at : at + self._wanted - len(self._held)]
            self._held, at = self._held + some, at + len(some)
            if len(self._held) == self._wanted:
                number, self._held = int.from_bytes(self._held, "little"), b""
                self._part(number)
        return data

    def _next(self, part: Any, wanted: int, skipped: int = 0) -> None:
        self._part, self._wanted, self._skipped = part, wanted, skipped

    def _begin(self, magic: int) -> None:
        if magic & ~0xF == _SKIPPED:
            self._next(self._says_nothing, 4)
        else:
            # What is no frame at all is told by what unpacks it.
            self._next(self._header, 1)

    def _says_nothing(self, size: int) -> None:
        self._next(self._begin, 4, size)

    def _header(self, descriptor: int) -> None:
        single = descriptor >> 5 & 1
        self._checksum = bool(descriptor >> 2 & 1)
        size = _SIZE_BYTES[descriptor >> 6] or single
        self._next(self._block, _BLOCK_HEADER, 1 - single + _DICTIONARY_BYTES[descriptor & 3] + size)

    def _block(self, header: int) -> None:
        size = 1 if header >> 1 & 3 == _REPEATED else header >> 3
        if header & 1:
            self._next(self._begin, 4, size + (_CHECKSUM if self._checksum else 0))
        else:
            self._next(self._block, _BLOCK_HEADER, size)
