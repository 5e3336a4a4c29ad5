"""Whether what is unpacked of a gzip file is what was packed, where each of its partitions is unpacked by itself.

A member's CRC-32 is of all its bytes. Each partition has those of its own, and together they give the member's.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sapflow.preparation.reading.gzip_parts import Trailer

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
"""The polynomial 1: bits are reflected, as CRC-32 has them."""


@dataclass(slots=True)
class Bytes:
    """What is known of consecutive bytes."""

    check: int = 0
    """Their CRC-32."""
    size: int = 0

    def add(self, data: bytes | memoryview) -> None:
        """Take the bytes that follow."""
        self.check, self.size = zlib.crc32(data, self.check), self.size + len(data)

    def then(self, check: int, size: int) -> "Bytes":
        """These and others that follow, as one."""
        return Bytes(_product(_shift(size), self.check) ^ check, self.size + size)


@dataclass(slots=True)
class MembersOfRange:
    """What is found of the members of a file in a range of what is unpacked, whose bytes come one after another."""

    at: int
    """The offset of the next byte that is to come."""
    end: int
    name: str
    head: tuple[Bytes, Trailer] | None = None
    """The bytes before the first end of a member, and what is said there; None if none ends in the range."""
    tail: Bytes = field(default_factory=Bytes)
    """The bytes behind the last end of a member."""

    @property
    def complete(self) -> bool:
        """Whether all bytes have come."""
        return self.at >= self.end

    def add(self, data: bytes | memoryview) -> None:
        """Take the bytes that follow."""
        self.tail.add(data)
        self.at += len(data)

    def ends(self, trailer: Trailer) -> None:
        """A member ends here. Raises DataError if it began in the range and is not what was packed."""
        if self.head is None:
            self.head = (self.tail, trailer)
        else:
            trailer.refuse_other(self.tail.check, self.tail.size, self.name)
        self.tail = Bytes()

    def notes(self) -> dict[str, Any]:
        """What `refuse_other` needs of the range, as JSON."""
        head = None
        if self.head is not None:
            found, said = self.head
            head = [found.check, found.size, said.check, said.size]
        return {"head": head, "tail": [self.tail.check, self.tail.size]}


def following(before: Bytes, notes: Mapping[str, Any], name: str) -> Bytes:
    """The bytes of the member that is not ended after a range, from those that were not before it. Raises DataError if
    what is unpacked is not what was packed."""
    if notes["head"] is None:
        return before.then(*notes["tail"])
    check, size, *said = notes["head"]
    member = before.then(check, size)
    Trailer(*said).refuse_other(member.check, member.size, name)
    return Bytes(*notes["tail"])


@lru_cache(1024)
def _shift(size: int) -> int:
    """x to the power of 8·size, by which a CRC is multiplied where so many bytes follow."""
    found, power = _ONE, _ONE >> 8
    while size:
        if size & 1:
            found = _product(found, power)
        power, size = _product(power, power), size >> 1
    return found


def _product(one: int, other: int) -> int:
    """The product of two polynomials over GF(2), modulo that of CRC-32."""
    found, place = 0, _ONE
    while place:
        if one & place:
            found ^= other
        other = (other >> 1) ^ _POLYNOMIAL if other & 1 else other >> 1
        place >>= 1
    return found
