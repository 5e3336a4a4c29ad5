"""Numbers as numbers of bins, beside scikit-learn."""

import warnings
from typing import Any

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same, through_record
from helpers.number_tables import CUTS, FAN_IN, applied, begun, learnt, tables
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import KBinsDiscretizer

from sapflow.preparation.batch import Batch, Column
from sapflow.preparation.step import ColumnType, Fitted, StepProblem
from sapflow.preparation.steps.bins import Binned


def bins(columns: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"bin": {"columns": columns or ["?"], **more}}


@given(columns=tables(least=2), quantiles=st.integers(2, 12), cuts=CUTS, fan_in=FAN_IN)
def test_edges_and_bins_are_exactly_those_of_scikit_learn(
    columns: dict[str, Column], quantiles: int, cuts: list[int], fan_in: int
) -> None:
    step = learnt(bins(quantiles=quantiles), columns, cuts, fan_in)
    assert isinstance(step, Binned)
    after = applied(step, columns)
    for place, (name, column) in enumerate(columns.items()):
        values = np.asarray(column)
        there = ~np.isnan(values)
        discretizer = KBinsDiscretizer(quantiles, encode="ordinal", strategy="quantile", subsample=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = discretizer.fit_transform(values[there][:, None])[:, 0]
        assert step.edges[place].tolist() == discretizer.bin_edges_[0][1:-1].tolist()
        found = np.asarray(after.columns[name])
        assert found[there].tolist() == expected.tolist()
        assert np.isnan(found[~there]).all()


@given(tables(most=20), st.integers(2, 5))
def test_a_row_alone_falls_in_the_same_bin(columns: dict[str, Column], quantiles: int) -> None:
    rows = len(next(iter(columns.values())))
    assert_rows_alone_are_the_same(
        learnt(bins(quantiles=quantiles), columns), Batch(columns, np.arange(rows))
    )


def test_a_value_on_a_given_edge_is_in_the_bin_above() -> None:
    values: dict[str, Column] = {"a": np.array([-9.0, 0.0, 0.5, 1.0, 2.0, np.nan])}
    step = begun(bins(edges=[0, 1]), {"a": ColumnType("Number")})
    assert isinstance(step, Fitted)
    found = np.asarray(applied(through_record(step), values).columns["a"])
    assert found[:5].tolist() == [0, 1, 1, 2, 2]
    assert np.isnan(found[5])


def test_a_constant_column_has_one_bin() -> None:
    values: dict[str, Column] = {"a": np.full(9, 4.0)}
    step = learnt(bins(quantiles=4), values)
    assert (np.asarray(applied(step, values).columns["a"]) == 0).all()


def test_what_cannot_be_binned_is_said() -> None:
    given_ = {"n": ColumnType("Number"), "t": ColumnType("Text")}
    with pytest.raises(StepProblem, match="each edge once") as caught:
        begun(bins(["n"], edges=[1, 1]), given_)
    assert caught.value.field == "edges"
    with pytest.raises(StepProblem, match="column t is of type Text"):
        begun(bins(quantiles=3), given_)
    with pytest.raises(StepProblem, match="column n has no value in any training row"):
        learnt(bins(quantiles=3), {"n": np.array([np.nan])})
