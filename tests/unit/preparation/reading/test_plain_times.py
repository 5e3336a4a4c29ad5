"""Times in the plainest forms, read many at once, are those of Python's own parser."""

import re
from datetime import datetime, timedelta

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sapflow.preparation.reading.field_bytes import FieldBytes
from sapflow.preparation.reading.plain_times import plain_times

WRITTEN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-9]{2})?\Z")
FORMS = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


def micros(field: str) -> int | None:
    """Microseconds since 1970 of a time in one of the forms, in all its digits."""
    for form, size in zip(FORMS, (10, 19, 19), strict=True):
        try:
            if len(field) == size and WRITTEN.match(field):
                return (datetime.strptime(field, form) - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        except ValueError:
            pass
    return None


TIMES = st.one_of(
    st.datetimes().map(lambda time: f"{time:%H:%M:%S}").map(lambda clock: f"1999-12-31 {clock}"),
    st.datetimes().map(lambda time: time.replace(microsecond=0).isoformat(" ")),
    st.datetimes().map(lambda time: time.replace(microsecond=0).isoformat()),
    st.dates().map(lambda day: day.isoformat()),
    st.tuples(st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32)).map(
        lambda parts: "{:04}-{:02}-{:02}".format(*parts)
    ),
    st.tuples(st.integers(0, 25), st.integers(0, 61), st.integers(0, 61)).map(
        lambda parts: "2024-02-29 {:02}:{:02}:{:02}".format(*parts)
    ),
    st.text("0123456789-: Té/", min_size=9, max_size=20),
)


@given(st.lists(TIMES, min_size=1, max_size=40))
@settings(max_examples=400, deadline=None)
@example(["1900-02-29", "2000-02-29", "2023-02-29", "2024-02-30", "2024-04-31", "0000-01-01", "9999-12-31"])
@example(
    ["2024-01-01 24:00:00", "2024-01-01t00:00:00", "2024-01-01_00:00:00", "2024-01-0:", "2024-01-01 23:59:59"]
)
def test_times_are_those_of_python_and_nothing_else_is_one(fields: list[str]) -> None:
    encoded = [field.encode() for field in fields]
    length = np.array([len(field) for field in encoded], np.int64)
    end = np.cumsum(length + 1) - 1
    text = FieldBytes(np.frombuffer(b",".join(encoded), np.uint8))
    values, plain = plain_times(text, end - length, end)
    expected = [micros(field) for field in fields]
    assert plain.tolist() == [each is not None for each in expected]
    assert values[plain].tolist() == [each for each in expected if each is not None]
