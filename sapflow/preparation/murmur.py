"""MurmurHash3 (x86, 32 bits, seed 0) of the UTF-8 bytes of many words: the same in every process and release.

The function is Austin Appleby's, https://github.com/aappleby/smhasher. With the sign taken away it numbers buckets as
scikit-learn's HashingVectorizer and FeatureHasher do.
"""

from collections.abc import Sequence

import numpy as np

_C1, _C2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)
_LONG = 256
"""Bytes. Words that are longer are hashed by themselves, so that a few long ones do not widen the table of all."""


def buckets_of(words: Sequence[str], buckets: int) -> np.ndarray:
    """int64 [k]: each word's bucket, from 0: the absolute value of its hash as an int32, modulo `buckets`."""
    signed = hashes(words).view(np.int32).astype(np.int64)
    return np.abs(signed) % buckets


def hashes(words: Sequence[str]) -> np.ndarray:
    """uint32 [k]: each word's hash."""
    encoded = [word.encode("utf-8", "surrogatepass") for word in words]
    lengths = np.array([len(each) for each in encoded], np.int64)
    found = np.zeros(len(encoded), np.uint32)
    short = np.flatnonzero(lengths <= _LONG)
    if len(short):
        found[short] = _hashes([encoded[place] for place in short.tolist()], lengths[short])
    for place in np.flatnonzero(lengths > _LONG).tolist():
        found[place : place + 1] = _hashes([encoded[place]], lengths[place : place + 1])
    return found


def _hashes(encoded: Sequence[bytes], lengths: np.ndarray) -> np.ndarray:
    """The hashes of words of about one length, one block of four bytes of all of them after the other."""
    blocks = int(lengths.max()) // 4 + 1
    table = np.frombuffer(b"".join(each.ljust(4 * blocks, b"\0") for each in encoded), "<u4")
    table = table.reshape(len(encoded), blocks)
    state = np.zeros(len(encoded), np.uint32)
    full = lengths // 4
    with np.errstate(over="ignore"):
        for number in range(blocks):
            mixed = _rotated(table[:, number] * _C1, 15) * _C2
            after = state ^ mixed
            # What is left behind a word's last full block is mixed in without the rotation.
            block = _rotated(after, 13) * np.uint32(5) + np.uint32(0xE6546B64)
            state = np.where(number < full, block, np.where(number == full, after, state))
        state ^= lengths.astype(np.uint32)
        state ^= state >> np.uint32(16)
        state *= np.uint32(0x85EBCA6B)
        state ^= state >> np.uint32(13)
        state *= np.uint32(0xC2B2AE35)
        state ^= state >> np.uint32(16)
    return state


def _rotated(values: np.ndarray, bits: int) -> np.ndarray:
    return (values << np.uint32(bits)) | (values >> np.uint32(32 - bits))
