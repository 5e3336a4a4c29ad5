"""Places of gzip files from which on they can be unpacked, and how that is done.

What is packed goes on behind any block of DEFLATE if the 32 KiB before it are known. But it begins within a byte, and
no zlib of Python's can begin there. So a stream is made that can be read from its beginning: a block that is not packed
has what was before, and empty blocks, which say nothing, take as many bits as it needs for what follows to lie in its
bytes where it lies in the file.
"""

import struct
from dataclasses import dataclass

import numpy as np

from sapflow.preparation.record import Record

WINDOW_BYTES = 32 << 10
"""How far back a block may refer."""
_FIXED = [0, 1, 0] + [0] * 7
"""The bits of an empty block of fixed codes: not the last one, its kind, and the end of the block. 10 bits."""
_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
"""The order in which a block has the lengths of the codes of lengths (RFC 1951, 3.2.7)."""


@dataclass(frozen=True, slots=True)
class SeekPoint:
    """Where a block of DEFLATE begins, or what is packed in a member of the file."""

    packed: int
    """The offset in the file of the first byte that is the block's alone."""
    bits: int
    """How many of the upper bits of the byte before are the block's, too: 0 to 7."""
    unpacked: int
    """The offset in what is unpacked."""
    window: bytes
    """What is unpacked before it, up to WINDOW_BYTES; less where the member begins later."""

    def record(self) -> Record:
        """The point as a record."""
        notes = {"packed": self.packed, "bits": self.bits, "unpacked": self.unpacked}
        return Record(notes, {"window": np.frombuffer(self.window, np.uint8)})

    @classmethod
    def of_record(cls, record: Record) -> "SeekPoint":
        """The point that `record` was made from. Raises KeyError."""
        notes = record.notes
        return cls(notes["packed"], notes["bits"], notes["unpacked"], record.arrays["window"].tobytes())

    @property
    def first(self) -> int:
        """The offset in the file of the first byte that has something of the block."""
        return self.packed - (self.bits > 0)

    def opening(self, first: int) -> bytes:
        """What stands, in place of the byte `first` (the file's at offset `first`, where there are bits of it) and all
        before, at the beginning of a stream of DEFLATE that unpacks to the window and to what follows it."""
        size = len(self.window)
        stored = b"\0" + struct.pack("<HH", size, size ^ 0xFFFF) + self.window
        if not self.bits:
            return stored
        blocks = list(_odd_block()) if self.bits % 2 else []
        while (len(blocks) + self.bits) % 8:
            blocks += _FIXED
        blocks += [first >> place & 1 for place in range(8 - self.bits, 8)]
        return stored + np.packbits(np.array(blocks, np.uint8), bitorder="little").tobytes()


def _odd_block() -> list[int]:
    """The bits of an empty block with codes of its own, which are odd in number: 93.

    It has one code of a bit for the end of the block, and one for a distance.
    """
    lengths = {1: 1, 18: 1}
    bits = [0, 0, 1, *_bits(0, 5), *_bits(0, 5), *_bits(len(_ORDER) - 4, 4)]
    for symbol in _ORDER:
        bits += _bits(lengths.get(symbol, 0), 3)
    # The code 1 says how many lengths are 0, from 11 on; the code 0 a length of 1.
    return [*bits, 1, *_bits(138 - 11, 7), 1, *_bits(118 - 11, 7), 0, 0, 0]


def _bits(number: int, count: int) -> list[int]:
    return [number >> place & 1 for place in range(count)]
