"""What a search's displays show: counts, the best trials, a line for each event, a table."""

import io
import json
import math
from typing import Any

import pytest
from rich.console import Console

from sapflow.monitoring.tuning_display import (
    TuningDisplay,
    in_short,
    short_names,
    value_text,
)
from sapflow.monitoring.tuning_displays import open_tuning_display
from sapflow.monitoring.tuning_progress import TOP, TuningProgress
from sapflow.monitoring.tuning_table import MOST_AT_WORK, TuningTable
from sapflow.spec import tuning_document
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.actions import Advance, Failed, Finished, Fork, Report, Stop, Stopped
from sapflow.tuning.result import ranked
from sapflow.tuning.settings import Settings
from sapflow.tuning.trial import Phase, Trial

RATE = "spec.optimizer.learningRate"


def tuning_job(**changes: Any) -> TuningJob:
    spec: dict[str, Any] = {
        "template": {
            "spec": {
                "model": {"name": "mlp"},
                "data": {"source": "sklearn:iris", "validationFraction": 0.2},
                "workers": 1,
                "algorithm": {"epochs": 8},
            }
        },
        "parameters": [{"path": RATE, "float": {"min": 0.01, "max": 1, "log": True}}],
        "objective": {"metric": "loss", "direction": "Minimize"},
        "search": {"name": "Random"},
        "maxTrials": 40,
        "maxWorkers": 4,
        **changes,
    }
    head = {"apiVersion": "sapflow.dev/v1alpha1", "kind": "TuningJob", "metadata": {"name": "tiny"}}
    return tuning_document.parse({**head, "spec": spec})


def advance(trial: int, to: int = 8) -> Advance:
    return Advance(trial, to, {RATE: 0.1 * (trial + 1)})


def finished(trial: int, loss: float, dollars: float = 0.5) -> Finished:
    return Finished(trial, {"loss": loss, "accuracy": 0.5}, at=8, version=80, seconds=3.0, dollars=dollars)


def test_the_best_trials_are_those_with_the_best_values_in_the_searchs_direction() -> None:
    for direction, expected in (("Minimize", 4), ("Maximize", 2)):
        metric = {"metric": "loss", "direction": "Minimize"}
        if direction == "Maximize":
            metric = {"metric": "accuracy", "direction": "Maximize"}
        progress = TuningProgress(tuning_job(objective=metric))
        for trial, value in enumerate([0.5, math.nan, 0.9, 0.3, 0.1, 0.7]):
            progress.began(advance(trial))
            progress.told(Finished(trial, {"loss": value, "accuracy": value}))
        assert progress.best is not None
        assert progress.best.number == expected
        assert 1 not in {each.number for each in progress.top}


def test_what_it_remembers_does_not_grow_with_the_number_of_trials() -> None:
    progress = TuningProgress(tuning_job())
    for trial in range(500):
        progress.began(advance(trial))
        progress.told(finished(trial, 1000.0 - trial))
    assert [each.number for each in progress.top] == list(range(499, 499 - TOP, -1))
    assert not progress.under_way
    assert not progress.paused
    assert progress.numbers["finished"] == progress.begun == 500
    assert progress.dollars == pytest.approx(250.0)


def test_a_trial_that_has_not_ended_is_among_the_best_until_it_fails_or_is_stopped() -> None:
    progress = TuningProgress(tuning_job())
    progress.began(advance(0, 2))
    progress.told(Report(0, 2, 20, {"loss": 0.25}, 1.0, 0.125))
    assert [each.number for each in progress.top] == [0]
    assert progress.numbers["paused"] == 1
    progress.began(advance(0))
    assert progress.numbers["running"] == 1
    assert progress.under_way[0].value == 0.25
    assert [each.number for each in progress.top] == [0]
    progress.told(Failed(0, "NotFinite", "the loss is not finite", 2.0, 0.25))
    assert progress.top == []
    assert progress.dollars == 0.25
    progress.began(advance(1, 2))
    progress.told(Report(1, 2, 20, {"loss": 0.25}, 1.0, 0.125))
    progress.told(Stopped(1))
    assert progress.best is None


def test_the_best_trials_of_a_search_that_goes_on_are_those_that_its_result_would_name() -> None:
    job = tuning_job()
    phases: tuple[Phase, ...] = ("Finished", "Paused", "Running", "Stopped", "Failed")
    trials = [
        Trial(number, {RATE: 0.1}, phase=phases[number % 5], values=(1000.0 - number,), to=8)
        for number in range(600)
    ]
    progress = TuningProgress(job)
    progress.opened(trials)
    counted = ranked(Settings.of(job), trials)
    assert [each.number for each in progress.top] == [each.number for each in counted[:TOP]]


def test_a_fork_stands_where_its_source_stood_and_a_stopped_trial_is_counted() -> None:
    progress = TuningProgress(tuning_job())
    progress.began(Fork(3, 1, 20, 2, {RATE: 0.4}))
    assert progress.paused[3].at == 2
    progress.began(Stop(3, "Pruned"))
    progress.told(Stopped(3))
    assert progress.numbers["stopped"] == 1
    assert not progress.paused


def lines(as_json: bool = False) -> tuple[TuningDisplay, io.StringIO]:
    stream = io.StringIO()
    shown = open_tuning_display(tuning_job(), stream, live=False, as_json=as_json, quiet=False, title="tiny")
    return shown, stream


def tell_all(display: TuningDisplay) -> None:
    with display:
        display.stage("cutting sklearn:iris into blocks")
        display.began(advance(0, 2))
        display.told(Report(0, 2, 20, {"loss": 0.25}, 1.0, 0.125))
        display.began(advance(0))
        display.told(finished(0, 0.2))
        display.began(advance(1))
        display.told(Failed(1, "NotFinite", "the loss is not\x1b[2J finite", 1.0, 0.1))


def test_a_search_without_a_terminal_writes_a_line_for_each_event() -> None:
    display, stream = lines()
    tell_all(display)
    assert stream.getvalue().splitlines() == [
        "cutting sklearn:iris into blocks",
        "trial 0 began: learningRate=0.1",
        "trial 0 paused at 2  loss 0.2500  $0.125  0 of 40 ended, $0.125 in all",
        "best so far: trial 0, loss 0.2500",
        "trial 0 goes on to epoch 8",
        "trial 0 finished  loss 0.2000  $0.500  1 of 40 ended, $0.500 in all",
        "best so far: trial 0, loss 0.2000",
        "trial 1 began: learningRate=0.2",
        "trial 1 failed (NotFinite)  $0.100  2 of 40 ended, $0.600 in all",
    ]


def test_progress_as_json_is_an_object_a_line_with_numbers() -> None:
    display, stream = lines(as_json=True)
    tell_all(display)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [each["event"] for each in events][:4] == ["stage", "began", "paused", "best"]
    assert events[2]["objective"] == 0.25
    assert events[-1]["reason"] == "NotFinite"
    assert events[1]["parameters"] == {RATE: 0.1}


def test_the_table_has_trials_at_work_the_best_ones_and_what_all_have_used() -> None:
    table = TuningTable(tuning_job(), io.StringIO(), "tiny-1234: at most 4 calls at once")
    stream = io.StringIO()
    for trial in range(MOST_AT_WORK + 5):
        table.progress.began(advance(trial))
    for trial in (0, 1):
        table.progress.told(finished(trial, 0.5 - trial / 10))
    Console(file=stream, width=120).print(table.picture())
    text = stream.getvalue()
    assert "tiny-1234" in text
    assert "trial 2/40" in text
    assert f"{MOST_AT_WORK + 3} at work" in text
    assert "and 3 more" in text
    assert text.index("0.4000") < text.index("0.5000")
    assert "$1.00" in text


def test_parameters_are_named_by_as_much_of_their_paths_as_tells_them_apart() -> None:
    assert short_names(["spec.optimizer.momentum", "spec.model.args.hidden"]) == {
        "spec.optimizer.momentum": "momentum",
        "spec.model.args.hidden": "hidden",
    }
    assert short_names(["spec.optimizer.name", "spec.model.name"]) == {
        "spec.optimizer.name": "optimizer.name",
        "spec.model.name": "model.name",
    }
    assert (
        in_short({"spec.model.args.hidden": [32, 8], RATE: 0.123456}) == "hidden=[32, 8], learningRate=0.1235"
    )
    assert in_short({"spec.merge.reuseWorkers": True, "spec.optimizer.name": "AdamW"}) == (
        "reuseWorkers=true, name=AdamW"
    )
    assert in_short({RATE: 0.123456}, 9) == "learning…"


def test_objectives_that_are_used_up_have_their_units() -> None:
    assert value_text("dollars", 0.25) == "$0.250"
    assert value_text("seconds", 90.0) == "1 min 30 s"
    assert value_text("accuracy", 0.5) == "50.00 %"
    assert value_text("loss", None) == "—"
