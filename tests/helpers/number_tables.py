"""Tables of numbers with missing values, as hypothesis draws them, and steps learnt of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import strategies as st

from helpers.fits import batches, fitted
from sapflow.preparation.batch import Batch, Column
from sapflow.preparation.step import ColumnType, Fit, Fitted, Schema
from sapflow.preparation.steps.registry import step_of
from sapflow.spec.preparation.step import StepSpec

TARGET = "label"
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, 2.0, 3.0, -7.5, 0.1, 1e-300, 123456.789]),
    st.floats(-1e6, 1e6),
    st.floats(1e9, 1e9 + 10),
)
CUTS = st.lists(st.integers(1, 60), max_size=6)
FAN_IN = st.integers(2, 5)


@st.composite
def tables(draw: st.DrawFn, least: int = 1, most: int = 60) -> dict[str, Column]:
    """Columns of numbers a and b. Each has some values; each value is missing as often as the column has it."""
    rows = draw(st.integers(least, most))
    return {name: _column(draw, rows) for name in ("a", "b")}


def _column(draw: st.DrawFn, rows: int) -> np.ndarray:
    few = draw(st.lists(VALUES, min_size=1, max_size=6))
    values = draw(st.lists(st.sampled_from(few) | VALUES, min_size=rows, max_size=rows))
    nothing = draw(st.lists(st.booleans(), min_size=rows, max_size=rows)) if draw(st.booleans()) else []
    column = np.array(values, np.float64)
    column[: len(nothing)][np.array(nothing, bool)] = np.nan
    if np.isnan(column).all():
        column[0] = values[0]
    return column


def schema_of(columns: dict[str, Column]) -> Schema:
    """The columns' types."""
    return {
        name: ColumnType("Number" if isinstance(column, np.ndarray) else "Text")
        for name, column in columns.items()
    }


def begun(step: Mapping[str, object], given: Schema) -> Fit | Fitted:
    """A step of the spec over these columns, before any row was read."""
    return step_of(StepSpec.model_validate(step), TARGET).begin(given)


def learnt(
    step: Mapping[str, object], columns: dict[str, Column], cuts: Sequence[int] = (), fan_in: int = 2
) -> Fitted:
    """The step after all its passes over the table, each batch a partition. By functions that send every record as
    bytes it has the same bits as by one process that keeps all."""
    found = begun(step, schema_of(columns))
    parts = batches(columns, cuts)
    by_functions = fitted(found, [[each] for each in parts], fan_in)
    while isinstance(found, Fit):
        records = [found.collect(each, None) for each in parts]
        while len(records) > 1:
            tree = range(0, len(records), fan_in)
            records = [found.merge(records[begin : begin + fan_in]) for begin in tree]
        found = found.next(records[0])
    assert found.record().encode() == by_functions.record().encode()
    return by_functions


def applied(step: Fitted, columns: dict[str, Column]) -> Batch:
    """All rows after the step, none of them bad."""
    rows = len(next(iter(columns.values())))
    found = step.apply(Batch(columns, np.arange(rows)))
    assert not found.bad
    return found.batch


def matrix(columns: dict[str, Column], names: Sequence[str] = ("a", "b")) -> np.ndarray:
    """float64 [n, k]: some columns side by side."""
    return np.stack([np.asarray(columns[name]) for name in names], axis=1)
