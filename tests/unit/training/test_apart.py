"""The process apart in which models are built: one interpreter for many questions, each in a process of its own."""

import os
import sys
from pathlib import Path

import pytest

from sapflow.training import apart

MODULE = """
import os, sys

def answer(question):
    print("said while it works")
    if question == "crash":
        os.abort()
    if question == "raise":
        raise ValueError("of its own")
    if question == "exit":
        sys.exit(5)
    global kept
    before, kept = globals().get("kept"), question
    return f"{os.getppid()} {os.environ.get('GIVEN')} {os.getcwd()} {sys.stdin.read()!r} {before}"
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "asked_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return "asked_here"


def environ(**given: str) -> dict[str, str]:
    return {**os.environ, **given}


def test_one_interpreter_answers_as_a_new_one_would(module: str, tmp_path: Path) -> None:
    first, second = (apart.ask(module, "a", environ(GIVEN=value)) for value in ("<1>", "<2>"))
    assert (first.code, first.errors) == (0, "")
    said, answer = first.output.splitlines()
    assert said == "said while it works"
    parent, given, folder, stdin, kept = answer.split(maxsplit=4)
    assert (given, folder, stdin, kept) == ("<1>", str(tmp_path), "''", "None")
    # Nothing of the first question is left, but the interpreter.
    assert second.output.splitlines()[1] == answer.replace("<1>", "<2>")
    if sys.platform == "linux":
        assert int(parent) not in (os.getpid(), 1)


@pytest.mark.parametrize(
    ("question", "code", "last"), [("crash", -6, ""), ("raise", 1, "ValueError: of its own"), ("exit", 5, "")]
)
def test_a_process_that_dies_leaves_its_words_and_the_interpreter(
    module: str, question: str, code: int, last: str
) -> None:
    ended = apart.ask(module, question, environ())
    assert ended.code == code
    assert "".join(ended.errors.splitlines()[-1:]) == last or code == -6
    assert apart.ask(module, "a", environ()).code == 0


def test_an_interpreter_that_has_ended_is_started_again(module: str) -> None:
    assert apart.ask(module, "a", environ()).code == 0
    apart._interpreter.close()
    assert apart.ask(module, "a", environ()).code == 0


def test_variables_that_are_read_at_the_start_get_an_interpreter_that_was_started_with_them(
    module: str,
) -> None:
    answers = [apart.ask(module, "a", environ(OMP_NUM_THREADS=each)).output.split()[4] for each in "12"]
    if sys.platform == "linux":
        assert answers[0] != answers[1]


def test_modules_are_found_where_the_variables_say(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text("def answer(question):\n    return question.upper()\n")
    assert apart.ask("elsewhere", "found", environ(PYTHONPATH=str(tmp_path))).output == "FOUND\n"
    assert "No module named 'elsewhere'" in apart.ask("elsewhere", "found", environ()).errors
