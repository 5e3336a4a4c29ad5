"""Where a run from Python shows how far it is: a terminal, a notebook's cell, plain lines when asked, or nowhere."""

import io
import sys
from pathlib import Path

import pytest
from helpers.jobs import tiny_job

from sapflow.client.run import display_of
from sapflow.client.session import Session, open_session
from sapflow.monitoring import notebook
from sapflow.monitoring.display import Display, LineDisplay
from sapflow.monitoring.live import LiveDisplay
from sapflow.monitoring.notebook import NotebookDisplay


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture
def opened(tmp_path: Path) -> Session:
    return open_session(tiny_job(), {}, store=str(tmp_path / "store"))


@pytest.mark.parametrize(
    ("terminal", "progress", "kind"),
    [
        (True, None, LiveDisplay),
        (True, True, LiveDisplay),
        (True, False, Display),
        (False, None, Display),
        (False, True, LineDisplay),
        (False, False, Display),
    ],
)
def test_outside_of_a_notebook_the_standard_error_decides(
    terminal: bool,
    progress: bool | None,
    kind: type[Display],
    opened: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", Stream(terminal))
    assert type(display_of(opened, progress)) is kind


@pytest.mark.parametrize(("progress", "kind"), [(None, NotebookDisplay), (False, Display)])
def test_in_a_notebook_it_is_the_cell(
    progress: bool | None, kind: type[Display], opened: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "notebook", lambda: lambda text: lambda text: None)
    assert type(display_of(opened, progress)) is kind


def test_what_a_program_prints_into_a_pipe_stays_there_beside_a_bar(
    opened: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, terminal = Stream(False), Stream(True)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", terminal)
    with display_of(opened, None):
        print("a result")
    assert out.getvalue() == "a result\n"
    assert "a result" not in terminal.getvalue()
