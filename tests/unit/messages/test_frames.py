"""Messages as bytes, with binary attachments and without."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sapflow.messages import frames

CONTENTS = st.dictionaries(st.text(min_size=1, max_size=20), st.binary(max_size=300), max_size=4)


@given(CONTENTS)
def test_a_message_comes_back_as_it_was(attached: dict[str, bytes]) -> None:
    found = frames.decode(frames.encode({"op": "merge", "version": 3, "attachments": attached}))
    assert {name: bytes(content) for name, content in found.pop("attachments", {}).items()} == attached
    assert found == {"op": "merge", "version": 3}


@given(CONTENTS)
def test_where_only_json_may_travel_it_comes_back_too(attached: dict[str, bytes]) -> None:
    text = json.dumps(frames.to_json({"op": "merge", "attachments": attached}))
    found = frames.from_json(json.loads(text))
    assert found.pop("attachments", {}) == attached
    assert found == {"op": "merge"}


def test_a_message_without_attachments_is_plain_json() -> None:
    assert json.loads(frames.encode({"op": "merge", "attachments": {}})) == {"op": "merge"}


@pytest.mark.parametrize("cut", [1, 4, 7, 12, 30, -1])
def test_a_frame_that_is_cut_off_is_refused(cut: int) -> None:
    with pytest.raises(ValueError):
        frames.decode(frames.encode({"op": "merge", "attachments": {"a": b"12345"}})[:cut])


def test_attachments_that_are_not_base64_are_refused() -> None:
    with pytest.raises(ValueError, match="not base64"):
        frames.from_json({"attachments": {"a": "!"}})
