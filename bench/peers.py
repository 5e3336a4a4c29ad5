"""Processes of the other side of a ratio: `count` Python modules that do one job a line and answer with one line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Peers:
    """`count` processes `python -m MODULE RANK COUNT ARGUMENTS…`. Use as a context manager."""

    def __init__(
        self, module: str, count: int, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> None:
        self._commands = [
            [sys.executable, "-m", module, str(rank), str(count), *arguments] for rank in range(count)
        ]
        self._environ = {**os.environ, **ONE_THREAD, **(environ or {})}
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        for command in self._commands:
            self._processes.append(
                subprocess.Popen(
                    command, env=self._environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
        self._read()
        return self

    def ask(self, request: object) -> list[Any]:
        """Send one job to every process at once; their answers by rank."""
        for process in self._processes:
            _send(process, request)
        return self._read()

    def ask_one(self, rank: int, request: object) -> Any:
        """Send a job to one process; its answer. For several threads, each with a rank of its own."""
        _send(self._processes[rank], request)
        return _receive(self._processes[rank])

    def _read(self) -> list[Any]:
        return [_receive(process) for process in self._processes]

    def __exit__(self, *exc: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()


def _send(process: subprocess.Popen[str], request: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()


def _receive(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended by {process.wait()}")
    return json.loads(line)


def jobs() -> Iterator[Any]:
    """In such a process: say that it is ready, then give one job after the other; `answer` each."""
    answer("ready")
    for line in sys.stdin:
        yield json.loads(line)


def answer(value: object) -> None:
    """Answer one job."""
    print(json.dumps(value), flush=True)
