"""A real function process for tests, spoken to over its Unix socket."""

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from sapflow.runtimes.embedded.directory import RuntimeDirectory

TOKEN = "a-token"
COMMAND = [sys.executable, str(Path(__file__).with_name("functions_for_tests.py"))]


class FunctionProcess:
    """`python functions_for_tests.py worker`, ready to be called. Use as a context manager."""

    def __init__(self, store: Path | None, **variables: str) -> None:
        """Without a store it starts as OpenWhisk starts a container: `/init` is to tell it token and store."""
        self._directory = RuntimeDirectory(os.environ)
        self.socket_path = str(self._directory.path / "s")
        self._lifeline, theirs = socket.socketpair()
        self._log = self._directory.path / "log"
        told = {"__OW_API_HOST": "http://whisk.example"}
        if store is not None:
            told = {"SAPFLOW_TOKEN": TOKEN, "SAPFLOW_STORE": str(store)}
        environ = {"PATH": os.environ["PATH"], **told, **variables}
        with theirs, self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "worker", "--uds", self.socket_path, "--lifeline", str(theirs.fileno())],
                env=environ,
                pass_fds=[theirs.fileno()],
                stdout=log,
                stderr=log,
            )
        said = self._lifeline.recv(64)
        assert said == b"ready 0\n", self.log()

    def log(self) -> str:
        """What it has written to stdout and stderr so far."""
        return self._log.read_text()

    def connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.connect(self.socket_path)
        return connection

    def send(self, path: str, body: bytes, token: str | None = TOKEN) -> http.client.HTTPConnection:
        """Send a POST and return without its answer."""
        connection = self.connect()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request("POST", path, body, headers)
        return connection

    def post(self, path: str, body: object, token: str | None = TOKEN) -> tuple[int, dict[str, Any]]:
        """Status and JSON body of the answer. `body` may be raw bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return receive(self.send(path, raw, token))

    def invoke(self, **request: Any) -> tuple[int, dict[str, Any]]:
        return self.post("/invoke", request)

    def get(self, path: str) -> tuple[int, str]:
        connection = self.connect()
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    def hang_up(self) -> None:
        """Close the lifeline, as the death of the parent would."""
        self._lifeline.close()

    def __enter__(self) -> "FunctionProcess":
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self._lifeline.close()
        self._directory.remove()


def receive(connection: http.client.HTTPConnection) -> tuple[int, dict[str, Any]]:
    """The answer to what `FunctionProcess.send` sent."""
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    return response.status, body


def make_mark(directory: Path) -> Path:
    """A named pipe: `read_text` on it waits until the `wait` operation, told of it as `mark`, is at work."""
    path = directory / f"mark-{secrets.token_hex(4)}"
    os.mkfifo(path)
    return path
