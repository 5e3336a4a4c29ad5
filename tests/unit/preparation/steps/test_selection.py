"""Which columns there are, what they are called, and which rows."""

from typing import Any

import numpy as np
import pytest
from helpers.fits import through_record
from helpers.number_tables import begun

from sapflow.preparation.batch import Batch, Blobs, Column, Text
from sapflow.preparation.step import ColumnType, Fitted, StepProblem

NAMES = ("dep_delay", "arr_delay", "carrier", "a*b", "delay")
GIVEN = {name: ColumnType("Number") for name in NAMES}
BATCH = Batch({name: np.arange(3.0) for name in NAMES}, np.arange(3))


def after(step: dict[str, Any]) -> list[str]:
    found = begun(step, GIVEN)
    assert isinstance(found, Fitted)
    found = through_record(found)
    columns = list(found.apply(BATCH).batch.columns)
    assert list(found.schema(GIVEN)) == columns
    assert set(NAMES) ^ set(columns) <= set(found.writes())
    return columns


def test_select_keeps_columns_in_their_order_and_drop_the_others() -> None:
    assert after({"select": {"columns": ["carrier", "*_delay"]}}) == ["dep_delay", "arr_delay", "carrier"]
    assert after({"drop": {"columns": ["*_delay"]}}) == ["carrier", "a*b", "delay"]


def test_a_name_that_has_a_star_itself_is_meant_as_it_is() -> None:
    assert after({"select": {"columns": ["a*b"]}}) == ["a*b"]


def test_renamed_columns_keep_their_places_and_may_swap_names() -> None:
    renamed = after({"rename": {"names": {"dep_delay": "arr_delay", "arr_delay": "dep_delay", "delay": "x"}}})
    assert renamed == ["arr_delay", "dep_delay", "carrier", "a*b", "x"]


def test_what_is_not_there_or_twice_is_said() -> None:
    for step, said in (
        (
            {"select": {"columns": ["gone"]}},
            "no column is called gone; there are dep_delay, arr_delay, carrier",
        ),
        ({"drop": {"columns": ["g?ne*"]}}, r"no column matches g\?ne\*; there are"),
        ({"rename": {"names": {"gone": "x"}}}, "no column is called gone"),
        ({"rename": {"names": {"delay": "carrier"}}}, "two columns would be called carrier"),
        ({"rename": {"names": {"delay": "x", "carrier": "x"}}}, "two columns would be called x"),
        ({"dropRows": {"columns": ["gone"]}}, "no column is called gone"),
    ):
        with pytest.raises(StepProblem, match=said) as caught:
            begun(step, GIVEN)
        assert caught.value.field in ("columns", "names")


def test_rows_that_miss_one_of_the_columns_are_dropped_and_are_no_bad_rows() -> None:
    columns: dict[str, Column] = {
        "n": np.array([1.0, np.nan, 3.0, 4.0, 5.0, 6.0]),
        "t": Text.of(["a", "b", None, "d", "e", "f"]),
        "w": np.array(["2013", "2013", "2013", "NaT", "2013", "2013"], "M8[us]"),
        "i": Blobs((b"", b"", b"", b"", None, b"")),
        "free": np.full(6, np.nan),
    }
    kinds = {"n": "Number", "t": "Text", "w": "Time", "i": "Image", "free": "Number"}
    step = begun({"dropRows": {"columns": ["?"]}}, {name: ColumnType(kind) for name, kind in kinds.items()})
    assert isinstance(step, Fitted)
    assert step.drops_rows
    found = through_record(step).apply(Batch(columns, np.arange(6) + 10))
    assert found.batch.numbers.tolist() == [10, 15]
    assert not found.bad


def test_no_pattern_of_a_step_over_features_means_the_target() -> None:
    given = {"a": ColumnType("Number"), "label": ColumnType("Number")}
    for step in (
        {"impute": {"columns": ["*"], "strategy": "Mean"}},
        {"scale": {"columns": ["*"], "method": "Standard"}},
        {"bin": {"columns": ["*"], "quantiles": 3}},
        {"clip": {"columns": ["*"], "min": 0}},
        {"log1p": {"columns": ["*"]}},
    ):
        assert list(begun(step, given).reads()) == ["a"]
        ((name, asked),) = step.items()
        assert list(begun({name: {**asked, "columns": ["label"]}}, given).reads()) == ["label"]
        with pytest.raises(StepProblem, match="only the target label matches: write its name out"):
            begun({name: {**asked, "columns": ["l*"]}}, given)
    assert list(begun({"dropRows": {"columns": ["*"]}}, given).reads()) == ["a", "label"]
