"""Counts of words within a bound."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.preparation.batch import Text
from sapflow.preparation.record import Record
from sapflow.preparation.steps import word_counts
from sapflow.preparation.steps.word_counts import counts_of_record, record_of, summed, words_counted
from sapflow.preparation.words import pattern

TEXTS = st.lists(st.none() | st.text("ab '\n9", max_size=12), max_size=20)


@given(TEXTS)
def test_every_rows_words_count(texts: list[str | None]) -> None:
    expected = Counter(word for text in texts if text is not None for word in pattern().findall(text))
    assert words_counted(Text.of(texts)) == expected


@given(st.lists(TEXTS, max_size=4))
def test_sums_travel_as_records(several: list[list[str | None]]) -> None:
    total = summed([words_counted(Text.of(texts)) for texts in several])
    assert total == words_counted(Text.of([text for texts in several for text in texts]))
    data = record_of(total).encode()
    assert counts_of_record(Record.decode(data, "counts")) == total


def test_beyond_the_bound_the_rarest_words_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "MAX_WORDS", 4)
    assert len(summed([Counter("abcd")])) == 4
    assert summed([Counter("aabccde"), Counter("ae")]) == Counter({"a": 3, "c": 2})
    assert summed([Counter("edcba")]) == Counter("ab")


def test_the_bound_is_of_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_counts, "MAX_WORD_BYTES", 8)
    assert summed([Counter(["éé", "abcd"])]) == Counter(["éé", "abcd"])
    assert summed([Counter(["éé", "éé", "abcd", "x"])]) == Counter(["éé", "éé"])
