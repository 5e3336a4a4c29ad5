"""The wire format of protocol buffers, as far as the Open Inference Protocol needs it.

Written out here because the messages are few and never change, and a library for them takes 20 MiB of a small process.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Malformed(ValueError):
    """The bytes are no message."""


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a message by number, each with all of its values in their order."""

    values: dict[int, list[int | bytes]] = field(default_factory=dict)

    @classmethod
    def of(cls, data: bytes) -> "Fields":
        """The fields of a message. Raises Malformed."""
        found: dict[int, list[int | bytes]] = {}
        at = 0
        while at < len(data):
            tag, at = _varint(data, at)
            number, kind = tag >> 3, tag & 7
            value: int | bytes
            if kind == VARINT:
                value, at = _varint(data, at)
            elif kind in (FIXED64, FIXED32):
                value, at = _cut(data, at, 8 if kind == FIXED64 else 4)
            elif kind == BYTES:
                length, at = _varint(data, at)
                value, at = _cut(data, at, length)
            else:
                raise Malformed(f"a field has the kind {kind}")
            found.setdefault(number, []).append(value)
        return cls(found)

    def blobs(self, number: int) -> list[bytes]:
        """The values of a repeated field of bytes, texts or messages. Raises Malformed."""
        found = self.values.get(number, [])
        if not all(isinstance(each, bytes) for each in found):
            raise Malformed(f"field {number} has a number")
        return [each for each in found if isinstance(each, bytes)]

    def text(self, number: int) -> str:
        """The last value of a field of text, '' without one. Raises Malformed."""
        found = self.blobs(number)
        try:
            return found[-1].decode() if found else ""
        except UnicodeDecodeError as error:
            raise Malformed(f"field {number} is no UTF-8") from error

    def integers(self, number: int, *, signed: bool) -> list[int]:
        """The values of a repeated field of whole numbers, packed or not. Raises Malformed."""
        found: list[int] = []
        for each in self.values.get(number, []):
            if isinstance(each, int):
                found.append(each)
                continue
            at = 0
            while at < len(each):
                value, at = _varint(each, at)
                found.append(value)
        return [value - (1 << 64) if signed and value >= 1 << 63 else value for value in found]

    def floats(self, number: int, dtype: str) -> np.ndarray:
        """The values of a repeated field of `<f4` or `<f8`, packed or not. Raises Malformed."""
        data = b"".join(self.blobs(number))
        if len(data) % np.dtype(dtype).itemsize:
            raise Malformed(f"field {number} ends within a number")
        return np.frombuffer(data, dtype)


def _cut(data: bytes, at: int, length: int) -> tuple[bytes, int]:
    if at + length > len(data):
        raise Malformed("a field is longer than its message")
    return data[at : at + length], at + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Malformed("a number does not end")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value & ((1 << 64) - 1), at


def varint(value: int) -> bytes:
    """A whole number; negative ones take ten bytes."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def number(place: int, value: int) -> bytes:
    """A field of a whole number or a truth value; nothing for 0, as the format has it."""
    return varint(place << 3 | VARINT) + varint(value) if value else b""


def blob(place: int, value: bytes) -> bytes:
    """A field of bytes or of a message, also an empty one."""
    return varint(place << 3 | BYTES) + varint(len(value)) + value


def text(place: int, value: str) -> bytes:
    """A field of text; nothing for an empty one."""
    return blob(place, value.encode()) if value else b""


def texts(place: int, values: Iterable[str]) -> bytes:
    """A repeated field of text."""
    return b"".join(blob(place, each.encode()) for each in values)


def packed(place: int, values: Sequence[int]) -> bytes:
    """A repeated field of whole numbers."""
    return blob(place, b"".join(map(varint, values))) if values else b""
