"""A real serving process for tests, on a port of its own."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from sapflow.runtimes.embedded.directory import RuntimeDirectory

TOKEN = "a-token"
COMMAND = [sys.executable, "-W", "ignore", "-m", "sapflow_functions.roles.server"]


def document(name: str = "late", **more: Any) -> dict[str, Any]:
    """What is served: the model of a folder."""
    return {"name": name, "version": "1", "key": "model.safetensors", **more}


class ServerProcess:
    """`python -m sapflow_functions.roles.server`, ready to be asked. Use as a context manager."""

    def __init__(self, folder: Path, served: Mapping[str, Any] | None = None, **variables: str) -> None:
        """`folder` has the model's files, `variables` go into its environment.

        Where it does not begin to listen, `exit_code`, `log` and `termination` tell why.
        """
        self._directory = RuntimeDirectory(os.environ)
        self._log = self._directory.path / "log"
        file = self._directory.path / "served.json"
        file.write_text(json.dumps(document() if served is None else served))
        self._lifeline, theirs = socket.socketpair()
        environ = {
            "PATH": os.environ["PATH"],
            "SAPFLOW_SERVICE_FILE": str(file),
            "SAPFLOW_STORE": str(folder),
            "SAPFLOW_TOKEN": TOKEN,
            "SAPFLOW_TERMINATION_LOG": str(self._directory.path / "termination"),
            "OPENBLAS_NUM_THREADS": "1",
            **variables,
        }
        arguments = ["--port", "0", "--host", "127.0.0.1", "--lifeline", str(theirs.fileno())]
        with theirs, self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments], env=environ, pass_fds=[theirs.fileno()], stdout=log, stderr=log
            )
        said = self._lifeline.recv(64)
        self.exit_code = None if said else self.process.wait(30)
        self.port = int(said.split()[1]) if said else 0
        self.log, self.termination = "", ""
        if self.exit_code is not None:
            self._ended()

    def _ended(self) -> None:
        """Keep what the process has left: its output, and why it did not start."""
        self.log, reason = self._log.read_text(), self._directory.path / "termination"
        self.termination = reason.read_text() if reason.exists() else ""
        self._lifeline.close()
        self._directory.remove()

    @property
    def resident_mib(self) -> float:
        """Its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [each for each in status.splitlines() if each.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    @property
    def libraries(self) -> str:
        """The files that are mapped."""
        return Path(f"/proc/{self.process.pid}/maps").read_text()

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {TOKEN}"})
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, value: Any) -> Any:
        """The JSON that is answered to JSON."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = Request(f"http://127.0.0.1:{self.port}{path}", json.dumps(value).encode(), headers)
        with urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def text(self, path: str) -> str:
        """The text at a path."""
        with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return str(answer.read().decode())

    def __enter__(self) -> "ServerProcess":
        assert self.exit_code is None, self.log
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)
        self._ended()
