"""Plain decimals, read many at once, have the bits of Python's own parser, and nothing else is taken for one."""

import re
import struct

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sapflow.preparation.reading.decimals import decimals
from sapflow.preparation.reading.field_bytes import FieldBytes

PLAIN = re.compile(r"-?[0-9]+(\.[0-9]+)?\Z")


def read(fields: list[str], point: str = ".") -> tuple[np.ndarray, np.ndarray]:
    encoded = [field.encode() for field in fields]
    length = np.array([len(field) for field in encoded], np.int64)
    end = np.cumsum(length + 1) - 1
    text = np.frombuffer(b",".join(encoded) or b",", np.uint8)
    return decimals(FieldBytes(text), end - length, end, ord(point))


def is_plain(field: str) -> bool:
    if not PLAIN.match(field) or len(field.removeprefix("-")) > 16:
        return False
    return int(field.replace("-", "").replace(".", "")) <= 2**53


WRITTEN = st.one_of(
    st.from_regex(PLAIN.pattern.replace("\\Z", ""), fullmatch=True).map(lambda field: field[:20]),
    st.tuples(st.floats(-1e7, 1e7), st.integers(0, 9)).map(lambda pair: f"{pair[0]:.{pair[1]}f}"),
    st.text("0123456789.-+e/: \0\x01é", max_size=20),
)


@given(st.lists(WRITTEN, min_size=1, max_size=60))
@settings(max_examples=500, deadline=None)
@example(["9007199254740992", "9007199254740993", "-0.0", "1234567.5", "12345678.9", "123456789012345.6"])
@example(
    ["1.", ".5", "-", "--1", "1-2", "1.2.3", "12345678.9.12345678", "1.2345678.", "1/2", "+5", "1e5", ""]
)
@example(["0.00000000000001", "00000000.00000001", "99999999", "999999999", "-9999999999999999"])
def test_plain_decimals_have_the_bits_of_float_and_nothing_else_is_one(fields: list[str]) -> None:
    values, plain = read(fields)
    assert plain.tolist() == [is_plain(field) for field in fields]
    for field, value, taken in zip(fields, values.tolist(), plain.tolist(), strict=True):
        if taken:
            assert struct.pack("<d", value) == struct.pack("<d", float(field)), field


def test_another_point_may_be_asked_for() -> None:
    values, plain = read(["1;25", "1.25", "-12345678;5"], ";")
    assert plain.tolist() == [True, False, True]
    assert values[[0, 2]].tolist() == [1.25, -12345678.5]
