"""What is shown of a running job: numbers for people, lines, their rate, and the live picture."""

import io
import json
import math
from typing import Any

import pytest
from rich.console import Console

from sapflow.algorithms.facts import Facts
from sapflow.errors import InvocationError
from sapflow.messages.vectors import Sizes
from sapflow.monitoring.display import Event, LineDisplay, json_line, plain_line
from sapflow.monitoring.live import LiveDisplay
from sapflow.monitoring.progress import Progress
from sapflow.planning.extent import Extent
from sapflow.records.commits import Account, Commit, Measured, Plan
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime, InstanceInfo
from sapflow.text import count, dollars, duration, percent, printable, to_json

EXTENT = Extent(steps=40, steps_per_epoch=10, round_samples=128, workers=8, facts=Facts("gradient"))


def commit(version: int, cold_starts: int = 0, **measured: Any) -> Commit:
    return Commit(
        version=version,
        id="id",
        previous="",
        plan="plan",
        sizes=Sizes(parameters=8, averaged=0, block=1024),
        slots=[],
        params=[],
        optimizer=[],
        account=Account(cost_usd=0.000123, cold_starts=cold_starts),
        measured=Measured(**measured),
    )


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.008, "8 ms"),
        (0.02345, "23.4 ms"),
        (0.99951, "1.0 s"),
        (3.24, "3.2 s"),
        (59.96, "1 min 00 s"),
        (245, "4 min 05 s"),
        (7399, "2 h 03 min"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "$0.00"), (12.3456, "$12.35"), (0.5, "$0.500"), (0.000961, "$0.000961"), (3e-7, "$0.000000300")],
)
def test_dollars_have_three_digits_that_count(value: float, text: str) -> None:
    assert dollars(value) == text


def test_counts_and_percents() -> None:
    assert (count(1, "step"), count(1000, "step")) == ("1 step", "1,000 steps")
    assert percent(0.97771) == "97.77 %"


def test_json_has_no_numbers_that_json_does_not_have() -> None:
    assert json.loads(to_json({"loss": math.nan, "list": [math.inf, 1.5], "n": 3})) == {
        "loss": None,
        "list": [None, 1.5],
        "n": 3,
    }


def test_progress_lines_come_once_a_second_and_at_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    display = LineDisplay(stream, plain_line, clock)
    display.begin(Progress(EXTENT))
    for version in range(41):
        clock.now = version * 0.1
        display.committed(commit(version, loss=1.0, accuracy=0.5))
    lines = stream.getvalue().splitlines()
    assert [line.split("/")[0] for line in lines] == ["step 0", "step 10", "step 20", "step 30", "step 40"]
    assert lines[-1].startswith("step 40/40 (100 %)  loss 1.0000  accuracy 50.00 %")
    assert lines[-1].endswith("$0.000123")


def test_metrics_of_values_are_in_lines_and_in_the_live_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    display = LineDisplay(stream, plain_line, Clock())
    live = LiveDisplay(io.StringIO(), "values", "AWSLambda")
    monkeypatch.setattr(live, "_tick", lambda: None)
    for each in (display, live):
        each.begin(Progress(EXTENT))
        each.committed(commit(10, loss=0.5, metrics={"mae": 3.0}))
        each.evaluated(10, {"loss": 0.25, "r2": 0.75, "mae": 2.0})
    first, second = stream.getvalue().splitlines()
    assert first.startswith("step 10/40 (25 %)  loss 0.5000  MAE 3.0000")
    assert second == "evaluated version 10 on held-out samples: R² 0.7500, MAE 2.0000, loss 0.2500"
    drawn = io.StringIO()
    Console(file=drawn, width=120).print(live.picture())
    assert "loss 0.5000   training MAE 3.0000   validation R² 0.7500 at 10" in drawn.getvalue()


def test_evaluations_retries_hedges_and_checkpoints_each_get_their_line() -> None:
    stream = io.StringIO()
    display = LineDisplay(stream, plain_line, Clock())
    display.begin(Progress(EXTENT))
    display.evaluated(36, {"loss": 0.1537, "accuracy": 0.9358})
    display.evaluated(37, {"loss": 0.5})
    display.invocation_failed("worker", "train", InvocationError("hung up", reason="Lost", retryable=True))
    display.invocation_failed("worker", "train", InvocationError("no such layer"))
    display.hedged("worker", "train", 7)
    display.checkpointed(20)
    display.resumed(commit(5))
    assert stream.getvalue().splitlines() == [
        "evaluated version 36 on held-out samples: accuracy 93.58 %, loss 0.1537",
        "evaluated version 37 on held-out samples: loss 0.5000",
        "worker train failed (Lost): hung up; trying again",
        "worker train failed (InvocationFailed): no such layer",
        "worker train of version 7 is late: sent a second one",
        "checkpoint of version 20",
        "going on from step 5",
    ]


def test_what_functions_say_cannot_move_the_cursor() -> None:
    event: Event = {
        "event": "retry",
        "role": "worker",
        "op": "train",
        "reason": "Odd",
        "message": "a\x1b[2J\r\nb",
    }
    assert plain_line(event) == "worker train failed (Odd): a [2J  b; trying again"
    assert printable("a\x1bb\nc") == "a b\nc"


def test_json_lines_are_objects() -> None:
    stream = io.StringIO()
    display = LineDisplay(stream, json_line, Clock())
    display.begin(Progress(EXTENT))
    display.committed(commit(3, loss=math.nan))
    body = json.loads(stream.getvalue())
    assert (body["event"], body["done"], body["total"], body["loss"]) == ("progress", 3, 40, None)


def test_the_rate_leaves_out_steps_in_which_functions_were_started() -> None:
    progress = Progress(EXTENT)
    times = [(0.0, 1), (3.0, 4), (3.5, 4), (4.0, 4)]
    for version, (now, cold_starts) in enumerate(times):
        progress.committed(commit(version, cold_starts), now)
        if version == 1:
            assert progress.seconds_per_unit is None
            assert progress.seconds_left is None
    assert progress.seconds_per_unit == pytest.approx(0.5)
    assert progress.seconds_left == pytest.approx(0.5 * 37)


def test_asynchronous_progress_counts_contributions() -> None:
    extent = Extent(
        steps=10,
        steps_per_epoch=5,
        round_samples=64,
        workers=4,
        facts=Facts("asynchronous", unit="contribution", merged=False),
    )
    progress = Progress(extent)
    progress.committed(commit(3).model_copy(update={"counters": [3, 2, 2, 1]}), 0.0)
    assert (extent.unit, extent.total, progress.done) == ("contribution", 40, 8)


def test_an_older_evaluation_does_not_replace_a_newer_one() -> None:
    progress = Progress(EXTENT)
    progress.take_evaluation(20, {"loss": 0.2, "accuracy": 0.9})
    progress.take_evaluation(10, {"loss": 0.4, "accuracy": 0.8})
    assert progress.evaluated == (20, {"loss": 0.2, "accuracy": 0.9})


class OneOfEach(EmbeddedRuntime):
    """A runtime in which nothing runs, and which tells of one function in each state."""

    def __init__(self) -> None:
        super().__init__("file:///nowhere", environ={})

    def instances(self) -> list[InstanceInfo]:
        return [
            InstanceInfo("merger", 0, 1, "warm", 4, 1 << 20),
            InstanceInfo("worker", 0, 2, "busy", 4, 1 << 20),
            InstanceInfo("worker", 1, 3, "starting", 0, 1 << 20),
        ]


def test_the_live_display_says_where_metrics_are_above_the_picture() -> None:
    stream = io.StringIO()
    with LiveDisplay(stream, "digits: 8 workers", "AWSLambda") as display:
        display.emit({"event": "metrics", "url": "http://127.0.0.1:4711/metrics"})
        display.stage("checking")
    assert "metrics at http://127.0.0.1:4711/metrics" in stream.getvalue()


def test_the_live_picture_shows_progress_numbers_tree_and_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    display = LiveDisplay(io.StringIO(), "digits: 8 workers", "AWSLambda")
    monkeypatch.setattr(display, "_tick", lambda: None)
    display.begin(Progress(EXTENT))
    display.watch(OneOfEach())
    display.planned(Plan(structure=(1, 8), shards=1), None)
    display.committed(commit(10, loss=0.5, accuracy=0.75))
    display.evaluated(8, {"loss": 0.25, "accuracy": 0.875})
    stream = io.StringIO()
    Console(file=stream, width=120).print(display.picture())
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert lines[0] == "digits: 8 workers"
    assert lines[1].startswith("step 10/40 ━")
    assert "25 %" in lines[1]
    assert lines[2] == (
        "loss 0.5000 training accuracy 75.00 % validation accuracy 87.50 % at 8 $0.000123 at AWSLambda prices"
    )
    assert lines[3] == "root 2 workers ●◌ 1 busy, 1 starting"
    assert lines[4] == "└─ 8 workers 1 merger ● 1 warm"
