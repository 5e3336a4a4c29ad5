"""Arrow's text becomes codes and words, each different value once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.preparation.reading import words
from sapflow.preparation.reading.words import text_of


def arrow(values: list[str | None]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    encoded = [b"" if value is None else value.encode() for value in values]
    offsets = np.concatenate([[0], np.cumsum([len(each) for each in encoded])]).astype(np.int32)
    valid = np.array([value is not None for value in values], bool)
    return np.frombuffer(b"".join(encoded), np.uint8), offsets, valid


VALUES = st.lists(
    st.none()
    | st.text(max_size=20)
    | st.sampled_from(["", "\0", "\0\0", "a", "a\0", "abcdefgh", "abcdefgh\0"]),
    max_size=40,
)


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_values_come_back_and_words_stand_once_in_the_order_they_come(values: list[str | None]) -> None:
    text = text_of(*arrow(values))
    assert text.values() == values
    assert text.words == tuple(dict.fromkeys(value for value in values if value is not None))
    assert text.codes.dtype == np.int32


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_values_of_the_same_hash_stay_apart(values: list[str | None]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "_hashes", lambda data, begin, length, heads: np.zeros(len(begin), np.uint64))
        assert text_of(*arrow(values)).values() == values
