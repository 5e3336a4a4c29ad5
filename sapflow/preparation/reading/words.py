"""Text as bytes in a row, and where each value begins and ends, as codes of its different words."""

from collections.abc import Iterator, Sequence

import numpy as np

from sapflow.preparation.batch import Text
from sapflow.preparation.reading.field_bytes import FieldBytes

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_MASKS = np.array([2 ** (8 * count) - 1 for count in range(9)], np.uint64)
"""By the number of bytes that are kept."""
_SLOT_BITS = 20
_TO_SLOT = np.uint64(64 - _SLOT_BITS)


def text_of(data: np.ndarray, offsets: np.ndarray, valid: np.ndarray | None) -> Text:
    """The column of UTF-8 values as Arrow holds them: value r is `data[offsets[r]:offsets[r + 1]]`, and missing where
    not `valid[r]`.

    `data` is uint8, `offsets` int [n + 1], `valid` bool [n] or None.
    """
    begin, length = offsets[:-1].astype(np.int64), np.diff(offsets).astype(np.int64)
    return coded(FieldBytes(data), begin, length, valid)


def coded(data: FieldBytes, begin: np.ndarray, length: np.ndarray, valid: np.ndarray | None) -> Text:
    """The column of UTF-8 values [n] that begin at places of `data`; missing where not `valid`.

    Words stand in the order in which they first come. Values are told apart by a hash, and compared byte by byte with
    the first of their hash, so equal codes mean equal words always.
    """
    count = len(begin)
    present = slice(None) if valid is None or valid.all() else np.flatnonzero(valid)
    begin, length = begin[present], length[present]
    if not len(begin):
        return Text(np.full(count, -1, np.int32), ())
    heads = data.eight_from(begin) & _MASKS[np.minimum(length, 8)]
    hashes = _hashes(data, begin, length, heads)
    first, ranks = _first_places(hashes)
    if not _all_equal(data, begin, length, heads, first[ranks]):
        return Text.of(_values(data, begin, length, present, count))
    if isinstance(present, slice):
        codes = ranks
    else:
        codes = np.full(count, -1, np.int32)
        codes[present] = ranks
    return Text(codes, tuple(_words(data, begin[first], length[first])))


def joined(several: Sequence[Text], missing: tuple[str, ...] = ()) -> Text:
    """The rows of several columns one after another, those of some words as missing."""
    places: dict[str, int] = dict.fromkeys(missing, -1)
    codes: list[np.ndarray] = []
    words: list[str] = []
    for each in several:
        for word in each.words:
            if word not in places:
                places[word] = len(words)
                words.append(word)
        found = [places[word] for word in each.words]
        if found == list(range(len(found))):
            codes.append(each.codes)
        else:
            codes.append(np.array([*found, -1], np.int32)[each.codes])
    return Text(np.concatenate([np.empty(0, np.int32), *codes]), tuple(words))


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


def _hashes(data: FieldBytes, begin: np.ndarray, length: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """uint64 [n]: a hash of each value, from eight bytes at a time; `heads` are the first eight."""
    mixed = (((length.astype(np.uint64) + np.uint64(1)) * _MULTIPLIER) ^ heads) * _MULTIPLIER
    hashes: np.ndarray = mixed ^ (mixed >> np.uint64(29))
    for rows, at, kept in _rounds(length):
        mixed = (hashes[rows] ^ (data.eight_from(begin[rows] + at) & kept)) * _MULTIPLIER
        hashes[rows] = mixed ^ (mixed >> np.uint64(29))
    return hashes


def _all_equal(
    data: FieldBytes, begin: np.ndarray, length: np.ndarray, heads: np.ndarray, first: np.ndarray
) -> bool:
    """Whether each value is the same as that of number `first`, byte by byte."""
    if not np.array_equal(length, length[first]) or not np.array_equal(heads, heads[first]):
        return False
    for rows, at, kept in _rounds(length):
        others = data.eight_from(begin[first[rows]] + at) & kept
        if not np.array_equal(data.eight_from(begin[rows] + at) & kept, others):
            return False
    return True


def _rounds(length: np.ndarray) -> Iterator[tuple[np.ndarray, int, np.ndarray]]:
    """Values eight bytes at a time behind the first eight: those that have some at `at`, and uint64 masks of the bytes
    that are theirs."""
    for at in range(8, int(length.max(initial=0)), 8):
        rows = np.flatnonzero(length > at)
        yield rows, at, _MASKS[np.minimum(length[rows] - at, 8)]


def _words(data: FieldBytes, begin: np.ndarray, length: np.ndarray) -> Iterator[str]:
    view = memoryview(data.text)
    for at, size in zip(begin.tolist(), length.tolist(), strict=True):
        yield str(view[at : at + size], "utf-8")


def _values(
    data: FieldBytes, begin: np.ndarray, length: np.ndarray, present: np.ndarray | slice, count: int
) -> list[str | None]:
    found = np.full(count, None, object)
    found[present] = list(_words(data, begin, length))
    return list(found)
