"""Numbers on one scale, beside scikit-learn."""

from typing import Any

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same
from helpers.number_tables import CUTS, FAN_IN, applied, begun, learnt, matrix, tables
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.step import ColumnType, StepProblem
from sapflow.preparation.steps.group_scale import GroupScaled
from sapflow.preparation.steps.scale import Scaled

SCALERS = {"Standard": StandardScaler, "MinMax": MinMaxScaler, "MaxAbs": MaxAbsScaler, "Robust": RobustScaler}


def scale(method: str, columns: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"scale": {"columns": columns or ["?"], "method": method, **more}}


def statistics(method: str, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's offsets and divisors."""
    scaler = SCALERS[method]().fit(table)
    match method:
        case "Standard":
            return scaler.mean_, scaler.scale_
        case "MinMax":
            return scaler.data_min_, 1 / scaler.scale_
        case "Robust":
            return scaler.center_, scaler.scale_
    return np.zeros(table.shape[1]), scaler.scale_


@pytest.mark.parametrize("method", SCALERS)
@given(columns=tables(), cuts=CUTS, fan_in=FAN_IN)
def test_statistics_are_those_of_scikit_learn(
    method: str, columns: dict[str, Column], cuts: list[int], fan_in: int
) -> None:
    step = learnt(scale(method), columns, cuts, fan_in)
    assert isinstance(step, Scaled)
    table = matrix(columns)
    offsets, divisors = statistics(method, table)
    if method == "Robust":
        assert step.scales.offsets.tolist() == offsets.tolist()
        assert step.scales.divisors.tolist() == divisors.tolist()
    # Means and deviations are exact in relation to the values that they are of.
    sizes = np.maximum(np.nanmax(np.abs(table), axis=0), 1e-300)
    np.testing.assert_allclose(step.scales.offsets / sizes, offsets / sizes, rtol=0, atol=1e-12)
    spread = np.nanmax(table, axis=0) - np.nanmin(table, axis=0)
    varied = (spread > 1e-6 * sizes) | (method == "MaxAbs")
    np.testing.assert_allclose(step.scales.divisors[varied], divisors[varied], rtol=1e-12)


@pytest.mark.parametrize("method", SCALERS)
def test_features_are_those_of_scikit_learn(method: str) -> None:
    generator = np.random.default_rng(5)
    table = generator.normal(3, 20, (4000, 2))
    table[generator.random(table.shape) < 0.1] = np.nan
    columns: dict[str, Column] = {"a": table[:, 0], "b": table[:, 1]}
    after = matrix(dict(applied(learnt(scale(method), columns, [1000, 1001, 2500]), columns).columns))
    expected = SCALERS[method]().fit_transform(table)
    np.testing.assert_allclose(after.astype(np.float32), expected.astype(np.float32), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", SCALERS)
@given(columns=tables(most=20))
def test_a_row_alone_is_scaled_as_within_its_batch(method: str, columns: dict[str, Column]) -> None:
    rows = len(next(iter(columns.values())))
    assert_rows_alone_are_the_same(learnt(scale(method), columns), Batch(columns, np.arange(rows)))


@pytest.mark.parametrize("method", ["Standard", "MinMax", "Robust"])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e9 + 0.1])
def test_a_constant_column_becomes_nought(method: str, value: float) -> None:
    columns: dict[str, Column] = {"a": np.full(1000, value)}
    after = applied(learnt(scale(method), columns, [100, 350]), columns).columns["a"]
    assert (np.asarray(after) == 0).all()


def test_a_column_of_noughts_is_divided_by_one() -> None:
    columns: dict[str, Column] = {"a": np.zeros(5)}
    assert (np.asarray(applied(learnt(scale("MaxAbs"), columns), columns).columns["a"]) == 0).all()


@pytest.mark.parametrize("method", SCALERS)
@given(
    columns=tables(),
    groups=st.lists(st.sampled_from(["x", "y", "Z", "é"]), min_size=60, max_size=60),
    cuts=CUTS,
    numbers=st.booleans(),
)
def test_groups_are_scaled_as_if_each_were_a_table_by_itself(
    method: str, columns: dict[str, Column], groups: list[str], cuts: list[int], numbers: bool
) -> None:
    table = matrix(columns)
    owners = np.array(groups[: len(table)])
    by: Column = Text.of(owners.tolist())
    if numbers:
        owners = np.array(["xyZé".index(each) for each in owners.tolist()], np.float64)
        by = owners
    step = learnt(scale(method, ["a", "b"], by="by"), {**columns, "by": by}, cuts)
    assert isinstance(step, GroupScaled)
    found = applied(step, {**columns, "by": by})
    for group in np.unique(owners):
        rows = owners == group
        mine: dict[str, Column] = {name: np.asarray(each)[rows] for name, each in columns.items()}
        for name, column in mine.items():
            after, values = np.asarray(found.columns[name])[rows], np.asarray(column)
            if np.isnan(values).all():
                assert np.isnan(after).all()
                continue
            alone = learnt(scale(method), {"c": values})
            expected = np.asarray(applied(alone, {"c": values}).columns["c"])
            if np.ptp(values[~np.isnan(values)]) > 1e-6 * np.nanmax(np.abs(values)):
                np.testing.assert_allclose(after, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rows", [300, 20_000])
def test_groups_are_scaled_robustly_as_by_scikit_learn(rows: int) -> None:
    drawn = np.random.default_rng(3)
    table = drawn.lognormal(0, 4, (rows, 2)) * drawn.choice([-1, 1], (rows, 2))
    table[drawn.random(table.shape) < 0.1] = np.nan
    groups = np.array([f"g{number}" for number in drawn.integers(0, 7, rows)])
    table[groups == "g3", 1] = np.nan
    columns: dict[str, Column] = {"a": table[:, 0], "b": table[:, 1], "by": Text.of(groups.tolist())}
    step = learnt(scale("Robust", ["a", "b"], by="by"), columns, [rows // 3, rows // 2], 2)
    assert isinstance(step, GroupScaled)
    assert step.groups == tuple(np.unique(groups).tolist())
    for place, group in enumerate(step.groups):
        for column in (0, 1) if group != "g3" else (0,):
            center, divisor = statistics("Robust", table[groups == group][:, [column]])
            assert step.scales.offsets[place, column] == center[0]
            assert step.scales.divisors[place, column] == divisor[0]
    assert np.isnan(step.scales.offsets[3, 1])


def test_too_many_groups_for_robust_scaling_are_refused() -> None:
    groups = Text.of([str(number) for number in range(1_001)])
    columns: dict[str, Column] = {"a": np.arange(1_001.0), "b": np.arange(1_001.0), "by": groups}
    with pytest.raises(
        StepProblem, match="more than 1,000 different values, and method Robust takes up to 2,000"
    ):
        learnt(scale("Robust", ["a", "b"], by="by"), columns, [900])


@given(tables(most=20), st.lists(st.sampled_from(["x", "y", "new", None]), min_size=20, max_size=20))
def test_rows_of_no_known_group_are_bad_rows(columns: dict[str, Column], groups: list[str | None]) -> None:
    rows = len(next(iter(columns.values())))
    known: list[str | None] = [("x", "y")[row % 2] for row in range(rows)]
    step = learnt(scale("Standard", ["a", "b"], by="by"), {**columns, "by": Text.of(known)})
    batch = Batch({**columns, "by": Text.of(groups[:rows])}, np.arange(rows) + 7, 3)
    assert_rows_alone_are_the_same(step, batch)
    bad = {
        (number, each.column, value)
        for each in step.apply(batch).bad
        for number, value in zip(each.numbers, each.values, strict=True)
    }
    for row, group in enumerate(groups[:rows]):
        if group is None:
            assert (row + 7, "by", "") in bad
        elif group == "new":
            assert (row + 7, "by", "new") in bad


def test_a_value_where_the_group_had_none_is_a_bad_row() -> None:
    nan = np.nan
    columns: dict[str, Column] = {"a": np.array([1.0, 2.0, nan]), "by": Text.of(["x", "x", "y"])}
    step = learnt(scale("Standard", ["a"], by="by"), columns)
    assert np.isnan(np.asarray(applied(step, columns).columns["a"])[2])
    (bad,) = step.apply(Batch({"a": np.array([5.0]), "by": Text.of(["y"])}, np.array([4]))).bad
    assert (list(bad.numbers), bad.column, list(bad.values)) == ([4], "a", ["5"])
    assert "its group had none in training" in bad.reason


def test_too_many_groups_are_refused() -> None:
    groups = Text.of([str(number) for number in range(10_001)])
    columns: dict[str, Column] = {"a": np.arange(10_001.0), "by": groups}
    with pytest.raises(StepProblem, match="column by has more than 10,000 different values") as caught:
        learnt(scale("Standard", ["a"], by="by"), columns, [9_000])
    assert caught.value.field == "by"


def test_what_cannot_be_scaled_is_said() -> None:
    given_ = {"n": ColumnType("Number"), "t": ColumnType("Text"), "wide": ColumnType("Number", 3)}
    for step, said in (
        (scale("Standard", ["t"]), "column t is of type Text, and this needs Number"),
        (scale("Standard", ["wide"]), "column wide has 3 features by a step before"),
        (scale("Standard", ["n"], by="n"), "column n cannot be scaled by itself"),
        (scale("Standard", ["n"], by="g"), "no column is called g"),
    ):
        with pytest.raises(StepProblem, match=said):
            begun(step, given_)
    for method in SCALERS:
        with pytest.raises(StepProblem, match="column n has no value in any training row"):
            learnt(scale(method), {"n": np.array([np.nan])})
        with pytest.raises(StepProblem, match="column n has infinite values"):
            learnt(scale(method), {"n": np.array([np.inf, np.inf, -np.inf])})
    for method in ("Standard", "MinMax", "MaxAbs"):
        groups: dict[str, Column] = {"n": np.array([np.inf, 1.0, np.nan]), "by": Text.of(["x", "y", "z"])}
        with pytest.raises(StepProblem, match="column n has infinite values"):
            learnt(scale(method, ["n"], by="by"), groups)


def test_only_what_a_method_takes_must_be_finite() -> None:
    columns: dict[str, Column] = {"n": np.array([1e200, 3e200, 5e200])}
    found = applied(learnt(scale("MinMax"), columns), columns).columns["n"]
    np.testing.assert_allclose(np.asarray(found), [0, 0.5, 1])
    with pytest.raises(StepProblem, match="column n has infinite values, or ones too large for a sum"):
        learnt(scale("Standard"), columns)
