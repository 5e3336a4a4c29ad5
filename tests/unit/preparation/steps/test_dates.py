"""Parts of times."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest
from helpers.fits import assert_rows_alone_are_the_same, through_record
from hypothesis import given
from hypothesis import strategies as st

from sapflow.preparation.batch import Batch
from sapflow.preparation.step import ColumnType, StepProblem
from sapflow.preparation.steps.cycles import cosines, sines
from sapflow.preparation.steps.dates import PARTS, Dates, DatesStep, part_of
from sapflow.spec.preparation.category_steps import DatePart, DatesSpec

OF_PANDAS = {
    "Year": "year",
    "Month": "month",
    "Day": "day",
    "Hour": "hour",
    "Minute": "minute",
    "Second": "second",
    "Weekday": "day_of_week",
    "DayOfYear": "day_of_year",
}
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # year 1 to year 9999, in microseconds


def times(*texts: str) -> np.ndarray:
    return np.array(texts, "M8[us]")


@given(st.lists(st.integers(FIRST, LAST), min_size=1, max_size=20))
def test_parts_are_those_of_pandas(numbers: list[int]) -> None:
    given_times = np.array(numbers, np.int64).view("M8[us]")
    for part, attribute in OF_PANDAS.items():
        expected = getattr(pd.Series(given_times).dt, attribute).to_numpy()
        assert part_of(given_times, part).tolist() == expected.tolist(), part


@pytest.mark.parametrize("part", PARTS)
def test_parts_of_many_times_on_few_days_are_those_of_each(part: str) -> None:
    drawn = np.random.default_rng(5)
    many = (drawn.integers(-40, 40, 200) * 86_400_000_000 + drawn.integers(0, 86_400_000_000, 200)).view(
        "M8[us]"
    )
    each = np.concatenate([part_of(many[place : place + 1], part) for place in range(len(many))])
    assert part_of(many, part).tobytes() == each.tobytes()
    assert len(part_of(many[:0], part)) == 0


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_time_has_no_part(part: str) -> None:
    found = part_of(times("2024-02-29T12:30:05", "NaT"), part)
    assert np.isnan(found).tolist() == [False, True]


def test_seconds_since_1970_have_fractions_and_go_below_nought() -> None:
    assert part_of(times("1970-01-01T00:00:01.5", "1969-12-31T23:59:59"), "UnixSeconds").tolist() == [
        1.5,
        -1.0,
    ]


def test_a_cycle_goes_around() -> None:
    when = times("2023-01-01", "2023-04-01", "2023-07-01", "2023-10-01")
    assert part_of(when, "MonthSin").tolist() == [0.0, 1.0, 0.0, -1.0]
    assert part_of(when, "MonthCos").tolist() == [1.0, 0.0, -1.0, 0.0]
    assert part_of(times("2023-01-02T18:00"), "HourSin").tolist() == [-1.0]
    assert part_of(times("2023-01-02T18:00"), "WeekdayCos").tolist() == [1.0]


@pytest.mark.parametrize("period", [7, 12, 24, 366])
def test_sines_and_cosines_are_those_of_the_mathematics_library_but_for_the_last_bits(period: int) -> None:
    angles = 2 * np.pi * np.arange(period) / period
    np.testing.assert_allclose(sines(period), np.sin(angles), rtol=0, atol=2e-15)
    np.testing.assert_allclose(cosines(period), np.cos(angles), rtol=0, atol=2e-15)


def test_parts_take_the_place_of_the_times() -> None:
    step = through_record(Dates(("at",), ("Year", "Weekday")))
    batch = Batch({"at": times("2024-02-29", "NaT"), "x": np.arange(2.0)}, np.arange(2))
    columns = step.apply(batch).batch.columns
    assert list(columns) == ["x", "at_Year", "at_Weekday"]
    assert list(columns) == list(step.schema({"at": None, "x": None}))  # type: ignore[dict-item]
    assert_rows_alone_are_the_same(step, batch)


def test_a_part_does_not_overwrite_a_column() -> None:
    schema = {"at": ColumnType("Time"), "at_Hour": ColumnType("Number")}
    assert DatesStep(DatesSpec(columns=["at"], parts=["Year", "Year"]), "y").begin(schema) == Dates(
        ("at",), ("Year",)
    )
    with pytest.raises(StepProblem, match="a column at_Hour already"):
        DatesStep(DatesSpec(columns=["at"], parts=["Hour"]), "y").begin(schema)


def test_every_part_of_the_spec_is_there() -> None:
    assert set(get_args(DatePart)) == set(PARTS)
