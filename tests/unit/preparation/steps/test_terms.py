"""Terms of texts and their counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.preparation.batch import Text
from sapflow.preparation.record import Record
from sapflow.preparation.step import StepProblem
from sapflow.preparation.steps import terms
from sapflow.preparation.steps.terms import TermCounts, occurrences, summed, terms_counted

TEXTS = st.lists(st.none() | st.text("aAbß 1.", max_size=12), max_size=12)


def counted(texts: list[str | None]) -> dict[str, tuple[int, int]]:
    found = terms_counted(Text.of(texts))
    return dict(zip(found.terms, zip(found.times.tolist(), found.rows.tolist(), strict=True), strict=True))


def test_terms_are_in_lower_case_and_of_two_letters_at_least() -> None:
    assert counted(["The cat, the CAT a", "cat_1 naïve", None, ""]) == {
        "cat": (2, 1),
        "cat_1": (1, 1),
        "naïve": (1, 1),
        "the": (2, 1),
    }
    assert occurrences(["", "!"]).terms == ()


def test_a_text_counts_in_each_of_its_rows() -> None:
    assert counted(["ab ab", "ab", "ab ab"]) == {"ab": (5, 3)}


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_sums_are_those_of_all_rows_and_travel_as_records(several: list[list[str | None]]) -> None:
    total = summed([terms_counted(Text.of(texts)) for texts in several])
    expected = terms_counted(Text.of([text for texts in several for text in texts]))
    assert total.record().encode() == expected.record().encode()
    again = TermCounts.of_record(Record.decode(total.record().encode(), "counts"))
    assert again.record().encode() == total.record().encode()


def test_beyond_the_bound_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "MAX_TERMS", 2)
    many = summed([terms_counted(Text.of(["aa bb"])), terms_counted(Text.of(["cc"]))])
    assert many.too_many
    assert summed([many, terms_counted(Text.of(["aa"]))]).too_many
    with pytest.raises(StepProblem, match="use buckets in place of top"):
        many.within("text")
