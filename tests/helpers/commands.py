"""Runs the command line: in this process, or as a process of its own that can be killed."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.jobs import document
from sapflow.cli import main

SECONDS = 500.0
"""A machine under load starts a function in a minute; what hangs fails all the same."""


def write_job(path: Path, **changes: Any) -> Path:
    """A file with the tiny job of helpers.jobs, changed; JSON is YAML too."""
    path.write_text(json.dumps(document(**changes)))
    return path


@dataclass(frozen=True)
class Done:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """`sapflow …` in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def __call__(self, *arguments: object, environ: Mapping[str, str] | None = None) -> Done:
        """`environ` left out is our own."""
        self._capture.readouterr()
        try:
            code = main([str(each) for each in arguments], environ)
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
        captured = self._capture.readouterr()
        return Done(code, captured.out, captured.err)


def here(*arguments: object, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Done:
    """`sapflow …` in this process, for what a process of its own would show no more; `environ` is added to ours."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), chdir(cwd or Path.cwd()):
        try:
            code = main([str(each) for each in arguments], {**os.environ, **(environ or {})})
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 1
    return Done(code, out.getvalue(), err.getvalue())


@contextmanager
def started(
    *arguments: object, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """`sapflow …` as a process, killed at the end if it is still there; `environ` is added to ours."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sapflow", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **(environ or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=SECONDS)
    return Done(process.returncode, out, err)


def run(*arguments: object, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Done:
    """`sapflow …` as a process of its own, to its end."""
    with started(*arguments, cwd=cwd, environ=environ) as process:
        return finish(process)


def wait_for_commit(store: Path, version: int, process: subprocess.Popen[str]) -> None:
    """Until the only job of a directory store has committed a version."""
    deadline = time.monotonic() + SECONDS
    while not list(store.glob(f"jobs/*/commits/{version}.json")):
        assert process.poll() is None, f"ended before version {version}: {process.communicate()}"
        assert time.monotonic() < deadline, f"no version {version} within {SECONDS} s"
        time.sleep(0.002)


def newest_commit(store: Path) -> int:
    return max((int(path.stem) for path in store.glob("jobs/*/commits/*.json")), default=-1)


def functions_of(store: Path) -> list[int]:
    """Processes of functions that use a directory store."""
    wanted = f"SAPFLOW_STORE={store.resolve().as_uri()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                environ = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in environ:
                found.append(int(entry.name))
    return found


def wait_until_no_function_of(store: Path) -> None:
    """Until nothing of a store's functions runs; those of a killed driver end by themselves."""
    deadline = time.monotonic() + SECONDS
    while functions_of(store):
        assert time.monotonic() < deadline, f"still there: {functions_of(store)}"
        time.sleep(0.01)


def send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    os.kill(process.pid, number)
