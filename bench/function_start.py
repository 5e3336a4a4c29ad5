"""The seconds from a function's process to its first answer: as a platform sees a cold start, less its own share."""

import http.client
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sapflow.quantities.roles import Role

POLL_SECONDS = 0.002
MOST_SECONDS = 60.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=MOST_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True, slots=True)
class Start:
    """What a start took: seconds, and those of them on a CPU, which a busy machine does not stretch."""

    seconds: float
    cpu: float


def medians(roles: Sequence[Role], environ: Mapping[str, str], starts: int) -> list[Start]:
    """The medians of each role. The roles take turns, so that what else the machine does meets them alike."""
    taken: list[list[Start]] = [[] for _ in roles]
    with tempfile.TemporaryDirectory(prefix="sapflow-bench-") as folder:
        own = {
            **environ,
            "SAPFLOW_TOKEN": "bench",
            "SAPFLOW_STORE": Path(folder, "store").as_uri(),
            "SAPFLOW_LOG_LEVEL": "WARNING",
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        }
        Path(folder, "store").mkdir()
        for number in range(starts + 1):
            for role, some in zip(roles, taken, strict=True):
                found = _start(role, Path(folder, f"{role}-{number}"), own)
                if number:  # the first ones read files that are in memory afterwards
                    some.append(found)
    return [
        Start(statistics.median(each.seconds for each in some), statistics.median(each.cpu for each in some))
        for some in taken
    ]


def _start(role: Role, place: Path, environ: Mapping[str, str]) -> Start:
    command = [sys.executable, "-m", f"sapflow_functions.roles.{role}", "--uds", str(place)]
    began = time.perf_counter()
    process = subprocess.Popen(command, env=dict(environ), stdout=subprocess.DEVNULL)
    try:
        while not _answers(place):
            if time.perf_counter() - began > MOST_SECONDS:
                raise RuntimeError(f"a {role} did not start within {MOST_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
    finally:
        process.kill()
        used = os.wait4(process.pid, 0)[2]
        process.returncode = -signal.SIGKILL
    return Start(seconds, used.ru_utime + used.ru_stime)


def _answers(place: Path) -> bool:
    connection = _UnixConnection(place)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
