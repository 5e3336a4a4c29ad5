"""The command line's face: help, version, exit codes, errors, what may not be in it."""

import json
import signal

import pytest
from helpers.commands import Shell

import sapflow
from sapflow.cli.output import exit_code, local_path
from sapflow.cli.stop import Stopped
from sapflow.errors import (
    CorruptObject,
    DataError,
    JobFailed,
    SapflowError,
    SpecError,
    StoreError,
    StoreUnavailable,
    StoreUnsafe,
)

COMMANDS = ("run", "validate", "plan", "status", "predict", "version")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def test_help_teaches_commands_examples_and_exit_codes(shell: Shell) -> None:
    done = shell("--help")
    assert done.code == 0
    assert all(f"\n    {command} " in done.out for command in COMMANDS)
    assert "examples:" in done.out
    assert "130 interrupted" in done.out


@pytest.mark.parametrize("command", ["run", "validate", "plan", "status", "predict"])
def test_each_command_teaches_by_examples(command: str, shell: Shell) -> None:
    done = shell(command, "--help")
    assert done.code == 0
    assert f"  sapflow {command}" in done.out.partition("examples:")[2]


def test_version_is_the_packages(shell: Shell) -> None:
    assert shell("version").out.startswith(f"sapflow {sapflow.__version__} ")
    assert json.loads(shell("version", "--json").out)["version"] == sapflow.__version__


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError([("spec.workers", "is wrong")]), 2),
        (DataError("no file"), 2),
        (StoreError("full"), 3),
        (StoreUnavailable("gone"), 3),
        (StoreUnsafe("two winners"), 3),
        (CorruptObject("short"), 3),
        (JobFailed("diverged", reason="NotFinite", version=3), 1),
        (JobFailed("a worker found the disk full", reason="StoreFailed", version=3), 3),
    ],
)
def test_an_error_has_the_exit_code_of_its_kind_wherever_it_was_raised(
    error: SapflowError, code: int
) -> None:
    assert exit_code(error) == code


def test_signals_have_the_exit_codes_of_shells() -> None:
    assert Stopped(signal.SIGINT).exit_code == 130
    assert Stopped(signal.SIGTERM).exit_code == 143


def test_a_status_without_jobs_says_so(
    shell: Shell, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(str(tmp_path))
    assert shell("status").out == "no jobs in .sapflow\n"
    assert shell("status", "--json").json == {"jobs": []}


def test_only_file_urls_have_a_path() -> None:
    assert local_path("file:///data/my%20store") == "/data/my store"
    assert local_path("s3://bucket/prefix") is None
