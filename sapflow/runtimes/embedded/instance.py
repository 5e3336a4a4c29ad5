"""A function's process in the embedded runtime: its start, readiness, calls and end."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sapflow.errors import InstanceLost, InvocationError, OutOfMemory
from sapflow.quantities.roles import Role
from sapflow.runtimes import handover
from sapflow.runtimes.embedded.memory_limit import MemoryLimiter
from sapflow.runtimes.http.answer import encode, interpret, timed_out
from sapflow.runtimes.http.connection import HttpConnection
from sapflow.runtimes.sender import Reply

START_SECONDS = 120.0
"""A function that is not ready after this time has failed to start."""

GRACE_SECONDS = 0.5
"""A call that has not answered this long after its time limit has its instance killed, as on a platform."""

State = Literal["starting", "busy", "warm", "ending"]


class Instance:
    """A process that serves one call at a time.

    The process inherits one end of a socket pair, its lifeline. It writes `ready` there; when it dies, the other end
    is closed, so the runtime notices without signal handlers or polling.
    """

    def __init__(
        self,
        role: Role,
        index: int,
        command: Sequence[str],
        env: Mapping[str, str],
        place: Path,
        *,
        unix: bool,
        token: str,
        limiter: MemoryLimiter,
        limit: int | None,
        on_gone: Callable[["Instance"], None],
        cell: int = 0,
    ) -> None:
        """Start the process. `place` is the path of its socket and log without their suffixes. Raises OSError.

        `cell` is the cell of a placed job that it serves. `limit` is the memory limit in bytes, None for no limit.
        `on_gone` is called once the process has ended and been reaped.
        """
        self.role = role
        self.cell = cell
        self.index = index
        self.state: State = "starting"
        self.calls = 0
        self._on_gone = on_gone
        self._token = token
        self._place = place
        self._unix = unix
        self._loop = asyncio.get_running_loop()
        self._connection: HttpConnection | None = None
        self._listening: asyncio.Future[int] = self._loop.create_future()
        self._gone = asyncio.Event()
        self._out_of_memory = False
        self._last_words = ""
        self._reaper: asyncio.Task[None] | None = None
        self._lifeline, theirs = socket.socketpair()
        self._lifeline.setblocking(False)
        where = ["--uds", str(place)] if unix else ["--host", "127.0.0.1", "--port", "0"]
        try:
            with theirs, self._log_path.open("wb") as log:
                self.process = subprocess.Popen(
                    [*command, *where, "--lifeline", str(theirs.fileno())],
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C signals the terminal's process group, but only the runtime decides when functions end.
                    process_group=0,
                )
        except OSError:
            self._lifeline.close()
            raise
        self.hold = limiter.hold(self.process.pid, limit, self.kill)
        self._loop.add_reader(self._lifeline, self._read_lifeline)

    @property
    def alive(self) -> bool:
        return self._reaper is None

    @property
    def pid(self) -> int:
        return self.process.pid

    async def wait_until_ready(self) -> None:
        """Raises InvocationError if the process ends, or is not ready after START_SECONDS."""
        try:
            async with asyncio.timeout(START_SECONDS):
                port = await asyncio.shield(self._listening)
        except TimeoutError as error:
            await self._end()
            raise InvocationError(
                f"{self._name} did not start within {START_SECONDS:g} s{self._last_words}",
                reason="StartFailed",
            ) from error
        try:
            if self._unix:
                self._connection = await HttpConnection.open_unix(str(self._place), self._token)
            else:
                self._connection = await HttpConnection.open_tcp(port, self._token)
        except OSError as error:
            raise await self._end() from error

    async def call(self, request: Mapping[str, Any], seconds: float) -> Reply:
        """Make an invocation, which must be answered within `seconds` plus GRACE_SECONDS.

        Raises InvocationError and its children, among them OutOfMemory if the process was killed for memory.
        """
        assert self._connection is not None
        self.calls += 1
        handover.begins()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                status, content = await self._connection.post(encode(request, seconds))
        except TimeoutError as error:
            raise timed_out(request, seconds) from error
        except ConnectionError as error:
            raise await self._end() from error
        elapsed = time.perf_counter() - started
        return Reply(interpret(request, status, content), elapsed, cold_seconds=0.0, queue_seconds=0.0)

    def kill(self) -> None:
        """Kill the process. Nothing is lost, because all its results are in the store."""
        if self.alive:
            self.process.kill()

    async def wait_gone(self) -> None:
        """Wait until the process has ended and everything of it is cleaned up."""
        await self._gone.wait()

    def resident(self) -> int:
        """Resident bytes, shared pages included."""
        return self.hold.memory.resident()

    def _read_lifeline(self) -> None:
        try:
            said = self._lifeline.recv(256)
        except OSError:
            said = b""
        if not said:
            self._loop.remove_reader(self._lifeline)
            self._lifeline.close()
            # The process closes its end only when it dies; anything else is a malfunction.
            self.process.kill()
            self._reaper = self._loop.create_task(self._reap())
        elif not self._listening.done():
            self._listening.set_result(int(said.split()[1]))

    async def _reap(self) -> None:
        await asyncio.to_thread(self.process.wait)
        self._out_of_memory = self.hold.exceeded()
        self.hold.release()
        if self._connection is not None:
            self._connection.close()
        self._last_words = self._read_last_words()
        for path in (self._place, self._log_path):
            path.unlink(missing_ok=True)
        if not self._listening.done():
            self._listening.set_exception(self._obituary())
            # Possibly nobody waits for this result any more.
            self._listening.exception()
        self._gone.set()
        self._on_gone(self)

    async def _end(self) -> InvocationError:
        """Kill a process that does not answer properly, and return the error that says why it is gone."""
        self.kill()
        await self.wait_gone()
        return self._obituary()

    def _obituary(self) -> InvocationError:
        """The error that says why the process is gone."""
        limit = self.hold.limit
        if self._out_of_memory and limit is not None:
            return OutOfMemory(f"{self._name} was killed over its limit of {limit / 2**20:.0f} MiB")
        code = self.process.returncode
        if code >= 0 and self._connection is None:
            return InvocationError(
                f"{self._name} ended with exit code {code} before it was ready{self._last_words}",
                reason="StartFailed",
            )
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return InstanceLost(f"{self._name} ended by {how}{self._last_words}")

    @property
    def _name(self) -> str:
        return f"{self.role} {self.index} (process {self.pid})"

    @property
    def _log_path(self) -> Path:
        return self._place.with_suffix(".log")

    def _read_last_words(self) -> str:
        try:
            with self._log_path.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 4096))
                lines = log.read().decode(errors="replace").strip().splitlines()[-8:]
        except OSError:
            return ""
        return ": " + "\n".join(lines) if lines else ""
