"""How often each word is in the texts of many rows: exact up to a bound, and beyond it without the rarest words.

Which words are let go follows from the source and the parameters alone, as the order of all counts does.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from sapflow.preparation.batch import Text
from sapflow.preparation.record import Record, words_of, words_to_arrays
from sapflow.preparation.words import pattern

MAX_WORDS = 200_000
MAX_WORD_BYTES = 16 << 20
"""UTF-8 bytes of all words together."""


def words_counted(text: Text) -> Counter[str]:
    """The words of all rows of a column, each as often as it occurs."""
    rows = np.bincount(text.codes[text.codes >= 0], minlength=len(text.words))
    find, counted = pattern().findall, Counter[str]()
    for code in np.flatnonzero(rows).tolist():
        words, times = find(text.words[code]), int(rows[code])
        if times == 1:
            counted.update(words)
        else:
            for word in words:
                counted[word] += times
    return counted


def summed(counted: Sequence[Mapping[str, int]]) -> Counter[str]:
    """The counts of all together, within the bound."""
    total = Counter[str]()
    for each in counted:
        total.update(each)
    size = sum(len(word) for word in total)
    if len(total) <= MAX_WORDS and 4 * size <= MAX_WORD_BYTES:
        return total
    return _within_bound(total)


def _within_bound(counted: Counter[str]) -> Counter[str]:
    """The counts if they keep the bound, and else the most frequent words that fill half of it, so that a word that
    comes late has room to become frequent."""
    sizes = {word: len(word.encode("utf-8", "surrogatepass")) for word in counted}
    if len(counted) <= MAX_WORDS and sum(sizes.values()) <= MAX_WORD_BYTES:
        return counted
    kept, size = Counter[str](), 0
    for word, count in sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])):
        size += sizes[word]
        if len(kept) == MAX_WORDS // 2 or size > MAX_WORD_BYTES // 2:
            break
        kept[word] = count
    return kept


def record_of(counted: Mapping[str, int]) -> Record:
    """The counts as a record."""
    words = sorted(counted)
    rows = np.array([counted[word] for word in words], np.int64)
    return Record({}, {"times": rows, **words_to_arrays("words", words)})


def counts_of_record(record: Record) -> Counter[str]:
    """The counts that `record_of` has made a record of."""
    words = words_of("words", record.arrays)
    return Counter(dict(zip(words, record.arrays["times"].tolist(), strict=True)))
