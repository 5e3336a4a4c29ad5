"""The terms of texts, and how often each is in each text: lower case, of two letters or digits at least.

As scikit-learn's CountVectorizer cuts texts. Nothing is missing or empty: a missing text is one without terms.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.preparation.batch import Text
from sapflow.preparation.record import Record, words_of, words_to_arrays
from sapflow.preparation.step import StepProblem

MAX_TERMS = 100_000
"""Different terms of a column that are counted."""
MAX_TERM_BYTES = 16 << 20
"""UTF-8 bytes of a column's different terms together."""
_TERM = re.compile(r"\b\w\w+\b")


@dataclass(frozen=True, slots=True)
class Occurrences:
    """In which of some different texts which term is: `texts`, `numbers` and `times` are int64 [k], by text."""

    terms: tuple[str, ...]
    texts: np.ndarray
    numbers: np.ndarray
    """Those of the terms."""
    times: np.ndarray
    """How often the term is in the text; above 0."""


def occurrences(texts: Sequence[str]) -> Occurrences:
    """The terms of texts, in the order in which they first occur."""
    terms, whose, numbers = terms_in_order(texts)
    different, times = np.unique(whose * max(1, len(terms)) + numbers, return_counts=True)
    found, which = np.divmod(different, max(1, len(terms)))
    return Occurrences(terms, found, which, times.astype(np.int64))


def terms_in_order(texts: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """The different terms, and of each term that stands in the texts, one after the other, whose text it is (int64 [k])
    and which of the different ones (int64 [k])."""
    known: dict[str, int] = {}
    numbers: list[int] = []
    lengths = np.zeros(len(texts), np.int64)
    for place, text in enumerate(texts):
        found = _TERM.findall(text.lower())
        numbers += [known.setdefault(term, len(known)) for term in found]
        lengths[place] = len(found)
    return tuple(known), np.repeat(np.arange(len(texts)), lengths), np.array(numbers, np.int64)


def distinct(text: Text) -> tuple[list[str], np.ndarray]:
    """The different texts that rows have, and the number of each row's in them (int64 [n]); −1 where it is missing."""
    there = text.codes >= 0
    used, places = np.unique(text.codes[there], return_inverse=True)
    numbers = np.full(len(text), -1, np.int64)
    numbers[there] = places
    return [text.words[code] for code in used.tolist()], numbers


@dataclass(frozen=True, slots=True)
class TermCounts:
    """How often each term is in all rows (`times`) and in how many (`rows`), exactly; terms by code point."""

    terms: tuple[str, ...]
    times: np.ndarray
    rows: np.ndarray
    too_many: bool = False
    """There were more terms than the bound: none is told any more."""

    def record(self) -> Record:
        """The counts as a record."""
        arrays = {"times": self.times, "rows": self.rows, **words_to_arrays("terms", self.terms)}
        return Record({"too_many": self.too_many}, arrays)

    @classmethod
    def of_record(cls, record: Record) -> "TermCounts":
        """The counts that `record` was made from."""
        arrays = record.arrays
        return cls(words_of("terms", arrays), arrays["times"], arrays["rows"], bool(record.notes["too_many"]))

    def within(self, column: str) -> "TermCounts":
        """The counts themselves. Raises StepProblem if there were too many terms."""
        if self.too_many:
            raise StepProblem(
                f"column {column} has more than {MAX_TERMS:,} different words, or they have more than "
                f"{MAX_TERM_BYTES >> 20} MiB: use buckets in place of top, which needs no list of them",
                "top",
            )
        return self


def terms_counted(text: Text) -> TermCounts:
    """The counts of a column of text."""
    texts, numbers = distinct(text)
    found = occurrences(texts)
    each_row = np.bincount(numbers[numbers >= 0], minlength=len(texts))[found.texts]
    times = _sums(found.numbers, found.times * each_row, len(found.terms))
    rows = _sums(found.numbers, each_row, len(found.terms))
    counted = dict(zip(found.terms, zip(times.tolist(), rows.tolist(), strict=True), strict=True))
    return _within_bound(counted)


def summed(several: Sequence[TermCounts]) -> TermCounts:
    """The counts of all rows together."""
    if any(each.too_many for each in several):
        return _too_many()
    total: dict[str, tuple[int, int]] = {}
    for each in several:
        for term, times, rows in zip(each.terms, each.times.tolist(), each.rows.tolist(), strict=True):
            before = total.get(term, (0, 0))
            total[term] = (before[0] + times, before[1] + rows)
    return _within_bound(total)


def _sums(places: np.ndarray, values: np.ndarray, length: int) -> np.ndarray:
    sums = np.zeros(length, np.int64)
    np.add.at(sums, places, values)
    return sums


def _within_bound(counted: Mapping[str, tuple[int, int]]) -> TermCounts:
    size = sum(len(term.encode("utf-8", "surrogatepass")) for term in counted)
    if len(counted) > MAX_TERMS or size > MAX_TERM_BYTES:
        return _too_many()
    terms = tuple(sorted(counted))
    both = np.array([counted[term] for term in terms], np.int64).reshape(-1, 2)
    return TermCounts(terms, both[:, 0], both[:, 1])


def _too_many() -> TermCounts:
    return TermCounts((), np.zeros(0, np.int64), np.zeros(0, np.int64), too_many=True)
