"""Numbers as text."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sapflow.preparation.numerals import numeral, numerals


@given(st.floats(allow_nan=False))
def test_a_numeral_is_read_back_as_the_same_number(number: float) -> None:
    assert float(numeral(number)) == number


def test_whole_numbers_have_no_point_and_nought_no_sign() -> None:
    assert [numeral(each) for each in (12.0, -3.0, -0.0, 0.5, 1e300)] == ["12", "-3", "0", "0.5", "1e+300"]


def test_a_missing_number_is_missing_text() -> None:
    assert numerals(np.array([2.0, np.nan, -0.0, 0.0, 2.0])).values() == ["2", None, "0", "0", "2"]
    assert numerals(np.zeros(0)).values() == []
