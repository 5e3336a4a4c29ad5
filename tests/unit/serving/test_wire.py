"""The wire format of protocol buffers: what is written is read, and what is none is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.serving import wire
from sapflow.serving.wire import Fields, Malformed


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.text(), st.lists(st.text()))
def test_fields_are_read_as_they_were_written(numbers: list[int], word: str, words: list[str]) -> None:
    found = Fields.of(wire.packed(1, numbers) + wire.text(2, word) + wire.texts(3, words) + wire.number(4, 1))
    assert found.integers(1, signed=True) == numbers
    assert found.text(2) == word
    assert [each.decode() for each in found.blobs(3)] == words
    assert found.integers(4, signed=False) == [1]


def test_numbers_may_come_one_by_one_and_floats_packed() -> None:
    values = np.array([1.5, -2, np.inf], "<f4")
    found = Fields.of(wire.number(1, 3) + wire.number(1, -4) + wire.blob(2, values.tobytes()))
    assert found.integers(1, signed=True) == [3, -4]
    assert found.floats(2, "<f4").tolist() == values.tolist()


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        found = Fields.of(data)
        for number in found.values:
            found.integers(number, signed=True)
    except Malformed:
        return
    assert sum(map(len, found.values.values())) <= len(data)


@pytest.mark.parametrize("data", [b"\x0a\x05ab", b"\x80", b"\x0b", b"\x09abc", b"\x08" + b"\xff" * 10])
def test_what_ends_too_early_or_is_of_no_kind_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        Fields.of(data)


def test_text_and_floats_of_another_form_are_refused() -> None:
    with pytest.raises(Malformed, match="no UTF-8"):
        Fields.of(wire.blob(1, b"\xff")).text(1)
    with pytest.raises(Malformed, match="has a number"):
        Fields.of(wire.number(1, 7)).text(1)
    with pytest.raises(Malformed, match="ends within a number"):
        Fields.of(wire.blob(1, b"abc")).floats(1, "<f4")
