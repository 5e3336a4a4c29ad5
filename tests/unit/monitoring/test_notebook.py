"""The picture below a notebook's cell, and several displays of one run."""

import sys
import types

import pytest

from sapflow.algorithms.facts import Facts
from sapflow.messages.vectors import Sizes
from sapflow.monitoring import notebook
from sapflow.monitoring.display import Display, Displays, Event
from sapflow.monitoring.notebook import NotebookDisplay
from sapflow.monitoring.progress import Progress
from sapflow.planning.extent import Extent
from sapflow.records.commits import Account, Commit, Measured, Plan

EXTENT = Extent(steps=40, steps_per_epoch=10, round_samples=128, workers=8, facts=Facts("gradient"))


def commit(version: int) -> Commit:
    return Commit(
        version=version,
        id="id",
        previous="",
        plan="plan",
        sizes=Sizes(parameters=8, averaged=0, block=1024),
        slots=[],
        params=[],
        optimizer=[],
        account=Account(cost_usd=0.000123),
        measured=Measured(loss=0.5),
    )


class Cell:
    """Below which one thing is shown after the other."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def show(self, text: str) -> "notebook.Update":
        self.shown.append(text)
        return self.shown.append


def test_the_picture_is_html_and_is_replaced_as_the_run_goes_on() -> None:
    cell = Cell()
    with NotebookDisplay(cell.show, "digits-1: 2 workers", "AWSLambda") as display:
        assert "starting" in cell.shown[0]
        display.begin(Progress(EXTENT))
        display.stage("cutting <samples>")
        assert "cutting &lt;samples&gt;" in cell.shown[-1]
        display.planned(Plan(structure=(1, 8), shards=1), None)
        display.committed(commit(7))
        display.evaluated(7, {"loss": 0.25, "accuracy": 0.9})
    last = cell.shown[-1]
    for words in (
        "<pre",
        "digits-1: 2 workers",
        "7/40",
        "17 %",
        "loss 0.5000",
        "8 workers",
        "evaluated version 7",
    ):
        assert words in last
    assert "\x1b" not in last


def test_only_a_notebooks_kernel_shows_below_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert notebook.notebook() is None
    shells: dict[str, object] = {
        "TerminalInteractiveShell": None,
        "ZMQInteractiveShell": notebook.notebook,
    }
    for name, found in shells.items():
        shell = type(name, (), {})()
        display = types.SimpleNamespace(HTML=str, display=None)
        module = types.SimpleNamespace(get_ipython=lambda shell=shell: shell, display=display)
        monkeypatch.setitem(sys.modules, "IPython", module)
        assert (notebook.notebook() is not None) == (found is not None), name


class Ears(Display):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.entered = 0

    def __enter__(self) -> "Ears":
        self.entered += 1
        return self

    def __exit__(self, *exc: object) -> None:
        self.entered -= 1

    def emit(self, event: Event) -> None:
        self.heard.append(event["event"])


def test_several_displays_hear_the_same_and_keep_their_own_progress() -> None:
    one, other = Ears(), Ears()
    with Displays(one, other) as both:
        assert (one.entered, other.entered) == (1, 1)
        both.stage("words")
        both.cut(3)
        both.begin(Progress(EXTENT))
        both.committed(commit(1))
        both.evaluated(1, {"loss": 0.5})
        both.emit({"event": "metrics", "url": "x"})
    assert (one.entered, other.entered) == (0, 0)
    assert one.heard == other.heard == ["stage", "data", "progress", "evaluated", "metrics"]
    assert one.progress is not None
    assert one.progress is not other.progress
    assert one.progress.done == 1
