"""Missing values filled in, beside scikit-learn."""

from typing import Any

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same, batches, fitted
from helpers.number_tables import CUTS, FAN_IN, applied, begun, learnt, matrix, schema_of, tables
from hypothesis import given
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.step import ColumnType, Fit, StepProblem
from sapflow.preparation.steps.imputed import Imputed

EXACT = {"Median": "median", "MostFrequent": "most_frequent"}


def impute(strategy: str, columns: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"impute": {"columns": columns or ["?"], "strategy": strategy, **more}}


@given(tables(), CUTS, FAN_IN)
def test_means_are_those_of_scikit_learn(columns: dict[str, Column], cuts: list[int], fan_in: int) -> None:
    step = learnt(impute("Mean"), columns, cuts, fan_in)
    expected = SimpleImputer().fit(matrix(columns))
    assert isinstance(step, Imputed)
    size = np.nanmax(np.abs(matrix(columns)), axis=0)
    np.testing.assert_allclose(
        np.array([*step.values.values()]) / np.maximum(size, 1e-300), expected.statistics_ / np.maximum(size, 1e-300),
        rtol=0, atol=1e-12,
    )  # fmt: skip
    there = ~np.isnan(matrix(columns))
    after = matrix(dict(applied(step, columns).columns))
    assert (after[there] == matrix(columns)[there]).all()


@pytest.mark.parametrize("strategy", EXACT)
@given(columns=tables(), cuts=CUTS, fan_in=FAN_IN)
def test_medians_and_most_frequent_values_are_exactly_those_of_scikit_learn(
    strategy: str, columns: dict[str, Column], cuts: list[int], fan_in: int
) -> None:
    step = learnt(impute(strategy), columns, cuts, fan_in)
    expected = SimpleImputer(strategy=EXACT[strategy]).fit_transform(matrix(columns))
    assert (matrix(dict(applied(step, columns).columns)) == expected).all()
    # They are exact, so that they depend on no cut either.
    assert learnt(impute(strategy), columns).record().encode() == step.record().encode()


@given(st.lists(st.sampled_from(["b", "B", "é", "", "10", "9", None]), min_size=1, max_size=30), CUTS)
def test_the_most_frequent_word_is_that_of_scikit_learn(values: list[str | None], cuts: list[int]) -> None:
    values = [*values, "b"]
    step = learnt(impute("MostFrequent"), {"x": Text.of(values)}, cuts)
    table = np.array([[np.nan if each is None else each] for each in values], object)
    expected = SimpleImputer(strategy="most_frequent").fit_transform(table)[:, 0].tolist()
    after = applied(step, {"x": Text.of(values)}).columns["x"]
    assert isinstance(after, Text)
    assert after.values() == expected


def test_constants_are_of_each_columns_type_and_an_indicator_says_where_they_are() -> None:
    columns: dict[str, Column] = {
        "n": np.array([1.0, np.nan]),
        "t": Text.of([None, "x"]),
        "rest": np.array([np.nan, 5.0]),
    }
    step = learnt(impute("Constant", ["n", "t"], value=-1, text="none", indicator=True), columns)
    after = applied(step, columns)
    assert list(after.columns) == ["n", "t", "rest", "n_missing", "t_missing"]
    assert list(step.schema(schema_of(columns))) == list(after.columns)
    assert np.asarray(after.columns["n"]).tolist() == [1.0, -1.0]
    text = after.columns["t"]
    assert isinstance(text, Text)
    assert text.values() == ["none", "x"]
    assert np.asarray(after.columns["n_missing"]).tolist() == [0.0, 1.0]
    assert np.asarray(after.columns["t_missing"]).tolist() == [1.0, 0.0]


@given(tables(), st.sampled_from(["Mean", "Median", "MostFrequent"]))
def test_a_row_alone_is_imputed_as_within_its_batch(columns: dict[str, Column], strategy: str) -> None:
    step = learnt(impute(strategy, indicator=True), columns)
    rows = len(next(iter(columns.values())))
    assert_rows_alone_are_the_same(step, Batch(columns, np.arange(rows)))


def test_a_step_that_still_learns_says_which_columns_will_come_out() -> None:
    given_ = {"a": ColumnType("Number"), "z": ColumnType("Text")}
    for strategy in ("Mean", "Median", "MostFrequent"):
        fit = begun(impute(strategy, ["a"], indicator=True), given_)
        assert isinstance(fit, Fit)
        schema = fit.schema(given_)
        assert schema is not None
        assert list(schema) == ["a", "z", "a_missing"]
        assert set(fit.writes()) == {"a", "a_missing"}


@pytest.mark.parametrize("strategy", ["Mean", "Median", "MostFrequent"])
def test_a_column_without_values_and_a_training_without_rows_are_refused(strategy: str) -> None:
    columns: dict[str, Column] = {"a": np.array([np.nan, np.nan])}
    with pytest.raises(
        StepProblem, match="column a has no value in any training row: drop it, or impute a Const"
    ):
        learnt(impute(strategy), columns)
    fit = begun(impute(strategy), schema_of(columns))
    with pytest.raises(StepProblem, match="there are no training rows to learn from"):
        fitted(fit, [])


def test_what_cannot_be_imputed_is_said() -> None:
    given_ = {"n": ColumnType("Number"), "t": ColumnType("Text"), "n_missing": ColumnType("Number")}
    for step, said in (
        (impute("Mean", ["t"]), "column t is of type Text, and this needs Number"),
        (impute("Constant", ["t"], value=1), "column t is of type Text: give its Constant as `text`"),
        (impute("Constant", ["n"], text="x"), "column n is of type Number: give its Constant as `value`"),
        (impute("Mean", ["n"], indicator=True), "there is a column n_missing already"),
        (impute("Mean", ["m*"]), r"no column matches m\*; there are n, t, n_missing"),
    ):
        with pytest.raises(StepProblem, match=said):
            begun(step, given_)


def test_infinite_values_have_no_mean() -> None:
    with pytest.raises(
        StepProblem, match="column a has infinite values, or ones too large for a sum: clip it before"
    ):
        learnt(impute("Mean"), {"a": np.array([1.0, np.inf])})
    large = learnt(impute("Mean"), {"a": np.array([1e200, 3e200])})
    assert isinstance(large, Imputed)
    assert large.values == {"a": 2e200}


def test_too_many_different_values_have_no_most_frequent_one() -> None:
    numbers = np.arange(100_001.0)
    fit = begun(impute("MostFrequent"), {"a": ColumnType("Number")})
    with pytest.raises(StepProblem, match=r"more than 100,000 different values.*impute Mean or Median"):
        fitted(fit, [batches({"a": numbers}, [60_000])])


def test_a_prediction_without_the_column_is_left_as_it_is() -> None:
    step = learnt(impute("Mean", indicator=True), {"a": np.array([1.0, np.nan])})
    rows = Batch({"b": np.array([2.0])}, np.arange(1))
    assert list(step.apply(rows).batch.columns) == ["b"]
