"""Counts of categories."""

import numpy as np
import pytest

from sapflow.preparation.batch import Text
from sapflow.preparation.record import Record
from sapflow.preparation.step import StepProblem
from sapflow.preparation.steps import categories
from sapflow.preparation.steps.categories import Counts, counts_of, merged


def counted(counts: Counts) -> dict[object, int]:
    values = counts.values if isinstance(counts.values, tuple) else counts.values.tolist()
    return dict(zip(values, counts.rows.tolist(), strict=True))


def test_words_are_counted_in_the_order_of_code_points() -> None:
    counts = counts_of(Text.of(["b", "é", "Z", None, "b", "a"]))
    assert list(counted(counts).items()) == [("Z", 1), ("a", 1), ("b", 2), ("é", 1)]
    assert counts.missing == 1


def test_a_word_that_no_row_has_is_not_counted() -> None:
    assert counted(counts_of(Text(np.array([1, 1], np.int32), ("unused", "used")))) == {"used": 2}


def test_numbers_are_counted_by_size_and_both_noughts_are_one() -> None:
    counts = counts_of(np.array([2.0, -0.0, np.nan, 0.0, -1.0, np.nan]))
    assert list(counted(counts).items()) == [(-1.0, 1), (0.0, 2), (2.0, 1)]
    assert not np.signbit(counts.values[1])
    assert counts.missing == 2


def test_counts_of_parts_are_those_of_all_rows() -> None:
    for column in (Text.of(["b", None, "a", "b", "c"]), np.array([3.0, np.nan, 1.0, 3.0, 2.0])):
        parts = [counts_of(column[:2] if isinstance(column, np.ndarray) else column.take(np.arange(2)))]
        parts.append(
            counts_of(column[2:] if isinstance(column, np.ndarray) else column.take(np.arange(2, 5)))
        )
        total = merged(parts)
        assert counted(total) == counted(counts_of(column))
        assert total.missing == 1
        again = Counts.of_record(Record.decode(total.record().encode(), "counts"))
        assert counted(again) == counted(total)


def test_beyond_the_bound_nothing_is_told_but_that_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(categories, "MAX_CATEGORIES", 3)
    many = merged([counts_of(Text.of("abc")), counts_of(Text.of("bcd"))])
    assert (many.too_many, many.values) == (True, ())
    assert merged([many, counts_of(Text.of("a"))]).too_many
    assert counts_of(np.arange(4.0)).too_many
    with pytest.raises(StepProblem, match=r"column word has more than 3 .*: use method: Hash"):
        many.within("word", "use method: Hash")
    assert not counts_of(Text.of("abcabc")).too_many


def test_long_text_counts_by_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(categories, "MAX_CATEGORY_BYTES", 5)
    assert not counts_of(Text.of(["éé", "a"])).too_many
    assert counts_of(Text.of(["éé", "ab"])).too_many
