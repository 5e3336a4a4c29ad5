"""A serving process on this machine, for `sapflow serve`: started, awaited until it listens, ended with its parent."""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sapflow.errors import DataError, SapflowError
from sapflow.spec.serving.served import ServedDocument

START_SECONDS = 120.0
"""A process that does not listen after this time has failed to start."""
MODULE = "sapflow_functions.roles.server"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process listens."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free one."""


class LocalServer:
    """Use it as a context manager: the process ends with it, and with this process however that ends."""

    def __init__(
        self,
        document: ServedDocument,
        store: str,
        environ: Mapping[str, str],
        place: Place,
        token: str | None,
    ) -> None:
        """Start the process and wait until it listens; `store` is the URL of the store that has the model.

        Raises DataError, with what the process has said, where it does not begin to serve.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="sapflow-serve-")
        folder = Path(self._folder.name)
        file = folder / "served.json"
        file.write_text(json.dumps(document.model_dump(by_alias=True, mode="json", exclude_none=True)))
        reason = folder / "reason"
        variables = {
            "SAPFLOW_LOG_LEVEL": "WARNING",  # a line for each request is for a cluster's logs
            **environ,
            "SAPFLOW_SERVICE_FILE": str(file),
            "SAPFLOW_STORE": store,
            "SAPFLOW_TERMINATION_LOG": str(reason),
            **({} if token is None else {"SAPFLOW_TOKEN": token}),
        }
        self._lifeline, theirs = socket.socketpair()
        where = ["--host", place.host, "--port", str(place.port), "--lifeline", str(theirs.fileno())]
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", MODULE, *where],
                env=variables,
                pass_fds=[theirs.fileno()],
            )
        try:
            self._lifeline.settimeout(START_SECONDS)
            said = self._lifeline.recv(64)
        except OSError as error:
            self.close()
            raise DataError(f"the serving process did not listen within {START_SECONDS:g} s") from error
        if not said:
            self.process.wait()
            told = reason.read_text() if reason.exists() else f"it ended with code {self.process.returncode}"
            self.close()
            raise NotServed(told)
        self.url = f"http://{place.host}:{said.split()[1].decode()}"

    def wait(self) -> int:
        """Wait until the process ends; its exit code."""
        return self.process.wait()

    def close(self) -> None:
        """End the process; what is in flight is answered before."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._lifeline.close()
        self._folder.cleanup()

    def __enter__(self) -> "LocalServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class NotServed(SapflowError):
    """A serving process has ended before it listened; the message is what it has said."""

    def __init__(self, told: str) -> None:
        reason, _, message = told.partition(": ")
        self.reason = reason if message and reason.isidentifier() else "NotServed"
        super().__init__(message if self.reason == reason else told)
