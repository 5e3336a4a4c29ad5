"""Clip and log1p."""

import numpy as np
from helpers.fits import assert_rows_alone_are_the_same, through_record
from helpers.number_tables import applied, begun, schema_of, tables
from hypothesis import given
from hypothesis import strategies as st

from sapflow.preparation.batch import Batch, Column
from sapflow.preparation.step import ColumnType, Fitted

BOUNDS = st.none() | st.floats(-100, 100)


@given(tables(most=20), BOUNDS, BOUNDS)
def test_clipped_numbers_are_numpys(
    columns: dict[str, Column], least: float | None, largest: float | None
) -> None:
    step = begun({"clip": {"columns": ["?"], "min": least, "max": largest}}, schema_of(columns))
    assert isinstance(step, Fitted)
    found = applied(through_record(step), columns)
    for name, column in columns.items():
        np.testing.assert_array_equal(
            np.asarray(found.columns[name]), np.clip(np.asarray(column), least, largest)
        )


@given(st.lists(st.floats(-3, 1e9) | st.sampled_from([-1.0, np.nan, np.inf]), min_size=1, max_size=20))
def test_log1p_is_of_numbers_above_minus_one_and_others_are_bad_rows(values: list[float]) -> None:
    column = np.array(values)
    step = begun({"log1p": {"columns": ["a"]}}, {"a": ColumnType("Number")})
    assert isinstance(step, Fitted)
    batch = Batch({"a": column}, np.arange(len(values)))
    assert_rows_alone_are_the_same(through_record(step), batch)
    found = step.apply(batch)
    fine = ~(column <= -1)
    np.testing.assert_array_equal(np.asarray(found.batch.columns["a"]), np.log1p(column[fine]))
    assert [number for each in found.bad for number in each.numbers] == np.flatnonzero(~fine).tolist()
    assert all(each.reason == "log1p needs a number above -1" for each in found.bad)
