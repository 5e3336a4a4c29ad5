"""A process apart in which a user's model is built: it may crash that process, and torch stays out of this one.

On Linux one interpreter loads torch once and forks for each question, so that a search's many models, or a notebook's,
wait for torch once. It ends with this process, or after IDLE_SECONDS without a question, because it holds torch's
memory. Elsewhere a loaded interpreter cannot be forked safely, and each question gets one of its own.
"""

import atexit
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IDLE_SECONDS = 10.0
"""How long the interpreter waits for another question."""
_PRELOADED = ("sapflow.models",)
_READ_AT_START = ("LD_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON")
"""Beginnings of the variables that an interpreter and its libraries read when they start."""
_PATH = "PYTHONPATH"


@dataclass(frozen=True, slots=True)
class Ended:
    """What is left of the process that a question was asked."""

    code: int
    """Its exit code; of a process that a signal ended, minus the signal's number."""
    output: str
    errors: str


def ask(module: str, question: str, environ: Mapping[str, str]) -> Ended:
    """Call `answer(question)` of a module in a process with these environment variables; its return value is printed.

    Raises OSError if no process can be started.
    """
    if sys.platform != "linux":
        return _alone(module, question, environ)
    with _lock:
        return _interpreter.ask(module, question, environ)


def _alone(module: str, question: str, environ: Mapping[str, str]) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", __name__, module],
        input=question,
        capture_output=True,
        text=True,
        env=dict(environ),
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class _Interpreter:
    """The interpreter with torch, while there is one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._started_with: dict[str, str] = {}

    def ask(self, module: str, question: str, environ: Mapping[str, str]) -> Ended:
        asked = {"module": module, "question": question, "environ": dict(environ), "folder": str(Path.cwd())}
        text = json.dumps({**asked, "idle": IDLE_SECONDS}) + "\n"
        started_with = {
            name: value
            for name, value in environ.items()
            if name.startswith(_READ_AT_START) and name != _PATH
        }
        if started_with != self._started_with:
            self.close()
        try:
            answer = self._exchange(text)
            if not answer:
                # There was none, or it had been idle and ended just now.
                self._start(started_with, environ)
                answer = self._exchange(text)
        except BaseException:
            # Its answer would be taken for that to the next question.
            self.close()
            raise
        if not answer:
            self.close()
            return _alone(module, question, environ)
        return Ended(**json.loads(answer))

    def _exchange(self, text: str) -> str:
        """The line that answers; '' if there is no interpreter, or it has ended."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return ""
        with suppress(BrokenPipeError):
            process.stdin.write(text)
            process.stdin.flush()
            if answer := process.stdout.readline():
                return answer
        self.close()
        return ""

    def _start(self, started_with: dict[str, str], environ: Mapping[str, str]) -> None:
        self._started_with = started_with
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=dict(environ),
            # Ctrl-C reaches all processes of a terminal's group, but whoever asks ends this one and its forks.
            process_group=0,
        )

    def close(self) -> None:
        """End the interpreter, and with it whatever it is asked."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


_lock = threading.Lock()
_interpreter = _Interpreter()
atexit.register(_interpreter.close)


def _serve() -> Mapping[str, Any] | None:
    """Take questions from standard input, one after the other. Returns each of them in a fork, whose output is the
    answer, and None when there are no more."""
    for name in _PRELOADED:
        # Without torch each question has its own error.
        with suppress(ImportError):
            importlib.import_module(name)
    added = os.environ.get(_PATH, "").split(os.pathsep)
    path = [each for each in sys.path[1:] if each not in added]
    idle = IDLE_SECONDS
    while select.select([sys.stdin], [], [], idle)[0] and (line := sys.stdin.readline()):
        asked = json.loads(line)
        idle = asked["idle"]
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            child = os.fork()
            if child == 0:
                _start_anew(asked, path, output.fileno(), errors.fileno())
                return dict(asked)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = {}
            for name, file in (("output", output), ("errors", errors)):
                file.seek(0)
                texts[name] = file.read().decode(errors="replace")
        print(json.dumps({"code": code, **texts}), flush=True)
    return None


def _start_anew(asked: Mapping[str, Any], path: list[str], output: int, errors: int) -> None:
    """Make a fork look like an interpreter that was started for this question."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for given, standard in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(given, standard)
    os.close(nothing)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environ"])
    added = [each for each in os.environ.get(_PATH, "").split(os.pathsep) if each]
    sys.path[:] = [asked["folder"], *added, *path]


def _main() -> None:
    if len(sys.argv) > 1:
        module, question = sys.argv[1], sys.stdin.read()
    else:
        asked = _serve()
        if asked is None:
            return
        module, question = asked["module"], asked["question"]
    print(importlib.import_module(module).answer(question))


if __name__ == "__main__":
    _main()
