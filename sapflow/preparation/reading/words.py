"""Text as Arrow holds it, bytes in a row and where each value ends, as codes of its different words."""

import numpy as np

from sapflow.preparation.batch import Text

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


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
    different = np.unique(hashes)
    inverse = np.searchsorted(different, hashes)
    first = np.empty(len(different), np.int64)
    first[inverse[::-1]] = np.arange(len(inverse))[::-1]  # of equal places the last one written stays
    if not _all_equal(data, begin, length, begin[first][inverse], length[first][inverse]):
        return Text.of(_values(data, offsets, valid))
    order = np.argsort(first)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    codes[present] = rank[inverse]
    held = data.tobytes()
    chosen = first[order]
    words = tuple(
        held[at : at + size].decode()
        for at, size in zip(begin[chosen].tolist(), length[chosen].tolist(), strict=True)
    )
    return Text(codes, words)


def _hashes(data: np.ndarray, begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """uint64 [n]: a hash of each value, from eight bytes at a time."""
    hashes = (length.astype(np.uint64) + np.uint64(1)) * _MULTIPLIER
    rows = np.arange(len(begin))
    padded = np.append(data, np.zeros(8, np.uint8))
    at = np.zeros(len(begin), np.int64)
    while len(rows):
        left = length[rows] - at
        rows, at, left = rows[left > 0], at[left > 0], left[left > 0]
        if not len(rows):
            break
        word = _words(padded, begin[rows] + at)
        kept = np.minimum(left, 8).astype(np.uint64) * np.uint64(8)
        word &= np.where(
            kept == 64, np.uint64(2**64 - 1), (np.uint64(1) << (kept & np.uint64(63))) - np.uint64(1)
        )
        mixed = (hashes[rows] ^ word) * _MULTIPLIER
        hashes[rows] = mixed ^ (mixed >> np.uint64(29))
        at = at + 8
    return hashes


def _words(padded: np.ndarray, places: np.ndarray) -> np.ndarray:
    """uint64 [n]: eight bytes from each place on."""
    windows = np.lib.stride_tricks.sliding_window_view(padded, 8)
    return np.asarray(windows[places].view(np.uint64).reshape(-1))


def _all_equal(
    data: np.ndarray, begin: np.ndarray, length: np.ndarray, other: np.ndarray, size: np.ndarray
) -> bool:
    """Whether each value is the same as the one that begins at `other`, byte by byte."""
    if not np.array_equal(length, size):
        return False
    different = np.flatnonzero(begin != other)
    begin, length, other = begin[different], length[different], other[different]
    total = int(length.sum())
    starts = np.cumsum(length) - length
    within = np.arange(total) - np.repeat(starts, length)
    return bool((data[np.repeat(begin, length) + within] == data[np.repeat(other, length) + within]).all())


def _values(data: np.ndarray, offsets: np.ndarray, valid: np.ndarray | None) -> list[str | None]:
    held = data.tobytes()
    return [
        held[offsets[row] : offsets[row + 1]].decode() if valid is None or valid[row] else None
        for row in range(len(offsets) - 1)
    ]
