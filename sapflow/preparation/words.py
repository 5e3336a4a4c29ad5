"""Text cut into the words that byte-level BPE is learnt of, as GPT-2's tokenizer cuts it.

Letters and numbers are those that Python's Unicode tables know.
"""

import re
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from itertools import groupby

_SPACE = r"\t-\r\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"


@cache
def pattern() -> re.Pattern[str]:
    """Matches one word after the other: what English shortens by an apostrophe, letters, digits, signs, and space.

    A blank before letters, digits or signs belongs to them.
    """
    letters, digits = _ranges("L"), _ranges("N")
    return re.compile(
        f"'(?:[sdmt]|ll|ve|re)| ?[{letters}]+| ?[{digits}]+| ?[^{_SPACE}{letters}{digits}]+"
        f"|[{_SPACE}]+(?![^{_SPACE}])|[{_SPACE}]+"
    )


def _ranges(category: str) -> str:
    """The characters of a general category of Unicode, for a regular expression."""
    points = (point for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point))[0] == category)
    found = []
    for _, run in groupby(enumerate(points), lambda pair: pair[1] - pair[0]):
        members = [point for _, point in run]
        found.append(f"\\U{members[0]:08x}-\\U{members[-1]:08x}")
    return "".join(found)


@cache
def byte_characters() -> tuple[str, ...]:
    """For each byte the character that stands for it in a vocabulary: itself where it prints, else one from 256 on."""
    printed = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (byte for byte in range(256) if byte not in printed)
    shifted = {byte: 256 + place for place, byte in enumerate(others)}
    return tuple(chr(shifted.get(byte, byte)) for byte in range(256))


def as_byte_characters(words: Iterable[str]) -> list[str]:
    """Each word's UTF-8 bytes as characters of a vocabulary."""
    characters = byte_characters()
    table = dict(enumerate(characters))
    return [word.encode("utf-8", "replace").decode("latin-1").translate(table) for word in words]
