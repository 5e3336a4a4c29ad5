"""Crosses of columns."""

import itertools

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same, through_record
from hypothesis import given
from hypothesis import strategies as st

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.step import ColumnType, StepProblem
from sapflow.preparation.steps.cross import Cross, CrossStep
from sapflow.spec.preparation.category_steps import CrossSpec

CROSS = Cross(("a", "b"), "a_b")


def crossed(rows: list[tuple[str | None, str | None]]) -> list[str | None]:
    batch = Batch({"a": Text.of(a for a, _ in rows), "b": Text.of(b for _, b in rows)}, np.arange(len(rows)))
    assert_rows_alone_are_the_same(CROSS, batch)
    column = through_record(CROSS).apply(batch).batch.columns["a_b"]
    assert isinstance(column, Text)
    assert len(set(column.words)) == len(column.words)
    return column.values()


def test_words_stand_in_the_columns_order_and_a_missing_one_makes_the_row_miss() -> None:
    assert crossed([("x", "y"), (None, "y"), ("x", None), ("", "")]) == ["x|y", None, None, "|"]


@given(st.lists(st.tuples(st.text("a|\\", max_size=4), st.text("a|\\", max_size=4)), max_size=30))
def test_different_words_never_give_the_same_text(rows: list[tuple[str | None, str | None]]) -> None:
    found = crossed(rows)
    for (one, first), (other, second) in itertools.combinations(zip(rows, found, strict=True), 2):
        assert (one == other) == (first == second)


def test_numbers_are_crossed_as_numerals_and_up_to_four_columns() -> None:
    columns: dict[str, Column] = {
        "a": np.array([1.0, 2.5]),
        "b": Text.of("xy"),
        "c": np.array([0.0, np.nan]),
        "d": Text.of("pq"),
    }
    applied = Cross(("a", "b", "c", "d"), "all").apply(Batch(columns, np.arange(2)))
    column = applied.batch.columns["all"]
    assert isinstance(column, Text)
    assert column.values() == ["1|x|0|p", None]


def test_a_column_without_any_word_crosses_to_nothing() -> None:
    assert crossed([(None, "x"), (None, "y")]) == [None, None]


def test_a_cross_does_not_overwrite_a_column() -> None:
    schema = {"a": ColumnType("Text"), "b": ColumnType("Number")}
    assert CrossStep(CrossSpec(columns=["b", "a"], name="ba")).begin(schema) == Cross(("b", "a"), "ba")
    with pytest.raises(StepProblem, match="a column b already"):
        CrossStep(CrossSpec(columns=["a", "b"], name="b")).begin(schema)
