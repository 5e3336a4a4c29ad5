"""Text as Arrow holds it, bytes in a row and where each value ends, as codes of its different words."""

from collections.abc import Iterator

import numpy as np

from sapflow.preparation.batch import Text

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MASKS = np.array([2 ** (8 * count) - 1 for count in range(9)], np.uint64)
"""By the number of bytes that are kept."""
_SLOT_BITS = 20
_TO_SLOT = np.uint64(64 - _SLOT_BITS)


def text_of(data: np.ndarray, offsets: np.ndarray, valid: np.ndarray | None) -> Text:
    """The column of UTF-8 values: value r is `data[offsets[r]:offsets[r + 1]]`, and missing where not `valid[r]`.

    `data` is uint8, `offsets` int [n + 1], `valid` bool [n] or None. Words stand in the order in which they first come.
    Values are told apart by a hash, and compared byte by byte with the first of their hash, so equal codes mean equal
    words always.
    """
    count = len(offsets) - 1
    begin, length = offsets[:-1].astype(np.int64), np.diff(offsets).astype(np.int64)
    present = np.arange(count) if valid is None or valid.all() else np.flatnonzero(valid)
    codes = np.full(count, -1, np.int32)
    if not len(present):
        return Text(codes, ())
    begin, length = begin[present], length[present]
    hashes = _hashes(data, begin, length)
    first, ranks = _first_places(hashes)
    if not _all_equal(data, begin, length, begin[first][ranks], length[first][ranks]):
        return Text.of(_values(data, offsets, valid))
    codes[present] = ranks
    held = data.tobytes()
    words = tuple(
        held[at : at + size].decode()
        for at, size in zip(begin[first].tolist(), length[first].tolist(), strict=True)
    )
    return Text(codes, words)


def _first_places(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each different hash first is, in that order, and for each hash which of them it is (int32 [n])."""
    # Few hashes rarely share a slot, and then nothing has to be sorted.
    slots, places = (hashes >> _TO_SLOT).astype(np.int64), np.arange(len(hashes))
    table = np.empty(1 << _SLOT_BITS, np.int32)
    table[slots[::-1]] = places[::-1]  # of equal slots the place written last stays
    earliest = table[slots]
    if np.array_equal(hashes[earliest], hashes):
        is_first = earliest == places
        return np.flatnonzero(is_first), (np.cumsum(is_first, dtype=np.int32) - np.int32(1))[earliest]
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return first[order], rank[inverse]


def _hashes(data: np.ndarray, begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """uint64 [n]: a hash of each value, from eight bytes at a time."""
    hashes = (length.astype(np.uint64) + np.uint64(1)) * _MULTIPLIER
    eights = _eights(data)
    for rows, at, kept in _rounds(length):
        mixed = (hashes[rows] ^ (eights[begin[rows] + at] & kept)) * _MULTIPLIER
        hashes[rows] = mixed ^ (mixed >> np.uint64(29))
    return hashes


def _all_equal(
    data: np.ndarray, begin: np.ndarray, length: np.ndarray, other: np.ndarray, size: np.ndarray
) -> bool:
    """Whether each value is the same as the one that begins at `other` and has that `size`, byte by byte."""
    if not np.array_equal(length, size):
        return False
    eights = _eights(data)
    return not any(
        np.any((eights[begin[rows] + at] ^ eights[other[rows] + at]) & kept)
        for rows, at, kept in _rounds(length)
    )


def _rounds(length: np.ndarray) -> Iterator[tuple[np.ndarray | slice, int, np.ndarray]]:
    """Values eight bytes at a time: those that have some at `at`, and uint64 masks of the bytes that are theirs."""
    rows: np.ndarray | slice = slice(None)
    for at in range(0, int(length.max(initial=0)), 8):
        if at:
            rows = np.flatnonzero(length > at)
        yield rows, at, _MASKS[np.minimum(length[rows] - at, 8)]


def _eights(data: np.ndarray) -> np.ndarray:
    """uint64 [bytes + 1]: the eight bytes from each place on, with zeros behind the last; a view."""
    padded = np.append(data, np.zeros(8, np.uint8))
    return np.ndarray(len(data) + 1, np.dtype("<u8"), padded, strides=(1,))


def _values(data: np.ndarray, offsets: np.ndarray, valid: np.ndarray | None) -> list[str | None]:
    held = data.tobytes()
    return [
        held[offsets[row] : offsets[row + 1]].decode() if valid is None or valid[row] else None
        for row in range(len(offsets) - 1)
    ]
