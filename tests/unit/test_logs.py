"""Logs are one JSON object a line."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from sapflow import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("info", stream=stream, role="worker")
    yield stream
    root.handlers[:], root.level = before


def test_an_event_is_one_line_with_its_fields(stream: io.StringIO) -> None:
    logs.event(logging.getLogger("sapflow.test"), logging.INFO, "step\ndone", job="j", step=3, rank=1)
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "INFO", "logger": "sapflow.test", "event": "step\ndone", "role": "worker",
        "job": "j", "step": 3, "rank": 1,
    }  # fmt: skip


def test_events_below_the_level_are_not_written(stream: io.StringIO) -> None:
    logs.event(logging.getLogger("sapflow.test"), logging.DEBUG, "detail")
    assert stream.getvalue() == ""


def test_a_traceback_stays_within_its_line(stream: io.StringIO) -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        logs.event(logging.getLogger("sapflow.test"), logging.ERROR, "failed", error=True)
    assert "ValueError: wrong" in json.loads(stream.getvalue())["error"]


def test_an_unknown_level_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"LOUD.*DEBUG, INFO"):
        logs.configure("LOUD")
