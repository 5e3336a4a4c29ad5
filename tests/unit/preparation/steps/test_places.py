"""Places of a column's values."""

import numpy as np

from sapflow.preparation.steps.places import Places, one_hot


def test_numbers_between_and_beyond_the_known_ones_have_no_place() -> None:
    places = Places(np.array([1.0, 2.0]), np.array([5, 6], np.int32), missing=7, absent=-1)
    assert places.of(np.array([0.0, 1.0, 1.5, 2.0, np.inf, np.nan])).tolist() == [-1, 5, -1, 6, -1, 7]
    nothing = Places(np.zeros(0), np.zeros(0, np.int32), missing=7, absent=-1)
    assert nothing.of(np.array([1.0, np.nan])).tolist() == [-1, 7]


def test_a_place_below_nought_has_no_feature() -> None:
    assert one_hot(np.array([1, -1, 0]), 2).tolist() == [[0, 1], [0, 0], [1, 0]]
