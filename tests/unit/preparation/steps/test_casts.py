"""Columns as another type."""

from typing import Any

import numpy as np
import pytest
from helpers.fits import assert_rows_alone_are_the_same, through_record
from helpers.number_tables import begun
from hypothesis import given
from hypothesis import strategies as st

from sapflow.preparation.batch import Batch, Column, Text
from sapflow.preparation.step import Applied, ColumnType, Fitted, StepProblem


def cast(type: str, column: Column, kind: str) -> Applied:
    step = begun({"cast": {"columns": ["x"], "type": type}}, {"x": ColumnType(kind)})
    assert isinstance(step, Fitted)
    assert step.schema({"x": ColumnType(kind)}) == {"x": ColumnType(type)}
    batch = Batch({"x": column}, np.arange(len(column)) + 5)
    assert_rows_alone_are_the_same(through_record(step), batch)
    return step.apply(batch)


def values(applied: Applied) -> list[Any]:
    column = applied.batch.columns["x"]
    return column.values() if isinstance(column, Text) else np.asarray(column).tolist()


def bad(applied: Applied) -> list[tuple[int, str]]:
    return [
        (number, value)
        for each in applied.bad
        for number, value in zip(each.numbers, each.values, strict=True)
    ]


def test_text_that_is_no_number_makes_a_bad_row() -> None:
    words = ["1", " -2.5e3 ", "+.5", "7.", "nan", "inf", "1_000", "1e999", "", "x", "٣", None]
    found = cast("Number", Text.of(words), "Text")
    assert values(found)[:4] == [1.0, -2500.0, 0.5, 7.0]
    assert np.isnan(values(found)[4])
    refused = ["nan", "inf", "1_000", "1e999", "", "x", "٣"]
    assert bad(found) == [(5 + words.index(word), word) for word in refused]
    assert {each.column for each in found.bad} == {"x"}
    assert {each.reason for each in found.bad} == {"cannot be a Number"}


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_numbers_go_through_text_and_back_unchanged(given_: list[float | None]) -> None:
    column = np.array([np.nan if each is None else each for each in given_])
    text = cast("Text", column, "Number")
    assert not text.bad
    assert [each is None for each in values(text)] == [each is None for each in given_]
    back = cast("Number", text.batch.columns["x"], "Text")
    assert not back.bad
    np.testing.assert_array_equal(np.asarray(back.batch.columns["x"]), column)


def test_whole_numbers_are_written_without_a_point() -> None:
    assert values(cast("Text", np.array([2013.0, -0.0, 0.5, 1e22]), "Number")) == [
        "2013",
        "0",
        "0.5",
        "1e+22",
    ]


def test_times_are_iso_8601_and_those_without_a_zone_utc() -> None:
    words = [
        "2013-01-01",
        "2013-01-01 05:30",
        "2013-01-01T05:30:00.25Z",
        "2013-01-01T05:30+02:00",
        "soon",
        None,
    ]
    found = cast("Time", Text.of(words), "Text")
    expected = ["2013-01-01", "2013-01-01T05:30", "2013-01-01T05:30:00.25", "2013-01-01T03:30", "NaT"]
    np.testing.assert_array_equal(np.asarray(found.batch.columns["x"]), np.array(expected, "M8[us]"))
    assert bad(found) == [(9, "soon")]


def test_times_and_numbers_are_seconds_since_1970() -> None:
    times = np.array(["1970-01-01T00:00:01.5", "1969-12-31", "2013-01-01T05:30", "NaT"], "M8[us]")
    found = cast("Number", times, "Time")
    assert values(found)[:3] == [1.5, -86_400.0, 1_357_018_200.0]
    assert np.isnan(values(found)[3])
    back = cast("Time", found.batch.columns["x"], "Number")
    np.testing.assert_array_equal(np.asarray(back.batch.columns["x"]), times)
    assert bad(cast("Time", np.array([1e12, np.inf, 0.0]), "Number")) == [(5, "1000000000000"), (6, "inf")]


@given(st.lists(st.none() | st.datetimes(), min_size=1, max_size=20))
def test_times_go_through_text_and_back_unchanged(given_: list[Any]) -> None:
    times = np.array(["NaT" if each is None else each for each in given_], "M8[us]")
    text = cast("Text", times, "Time")
    assert not text.bad
    assert not any(each is not None and each.endswith(".000000") for each in values(text))
    np.testing.assert_array_equal(
        np.asarray(cast("Time", text.batch.columns["x"], "Text").batch.columns["x"]), times
    )


@pytest.mark.parametrize("type", ["Number", "Text", "Time"])
def test_a_column_of_the_type_already_stays(type: str) -> None:
    columns: dict[str, Column] = {
        "Number": np.array([1.0, np.nan]),
        "Text": Text.of(["a", None]),
        "Time": np.array(["2013-01-01", "NaT"], "M8[us]"),
    }
    found = cast(type, columns[type], type)
    assert not found.bad
    assert found.batch.columns["x"] is columns[type]


def test_images_cannot_be_cast() -> None:
    with pytest.raises(StepProblem, match="column x is of type Image, and this needs Number or Text or Time"):
        begun({"cast": {"columns": ["x"], "type": "Text"}}, {"x": ColumnType("Image")})
