"""The embedded runtime: functions are processes on this machine, started on demand and kept warm.

They are the same programs as in a cluster, called over HTTP with a token. At most `max_instances` calls are at
work at once, cold starts included. The functions end with this process, however it ends.
"""

import asyncio
import os
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sapflow.errors import InvocationError, InvocationTimeout, OutOfMemory
from sapflow.quantities.roles import ALL_ROLES, Role
from sapflow.runtimes.embedded.cell_folders import CellFolders
from sapflow.runtimes.embedded.directory import RuntimeDirectory
from sapflow.runtimes.embedded.instance import Instance, State
from sapflow.runtimes.embedded.memory_limit import MemoryLimiter, on_tmpfs
from sapflow.runtimes.sender import Reply, caller_of
from sapflow.runtimes.slots import Slots

PASSED_ON = (
    "PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "HOME", "SSL_CERT_FILE",
    # These choose code paths whose results differ in their bits, so functions must have their driver's values.
    "OPENBLAS_CORETYPE", "MKL_CBWR", "ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
)  # fmt: skip
"""Environment variables that are passed on to functions."""
MOST_REMEMBERED = 16_384
"""Callers whose last instance is known."""


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """A function's process, for display."""

    role: Role
    index: int
    pid: int
    state: State
    calls: int
    rss: int


class EmbeddedRuntime:
    """A Sender whose functions are local processes. It must be used and closed in one event loop."""

    def __init__(
        self,
        store_url: str,
        credentials_env: Mapping[str, str] | None = None,
        *,
        memory: Mapping[Role, int | None] | None = None,
        threads: int = 1,
        max_instances: int | None = None,
        idle_seconds: float = 60.0,
        commands: Mapping[Role, Sequence[str]] | None = None,
        on_change: Callable[[], None] | None = None,
        environ: Mapping[str, str] | None = None,
        cells: int = 0,
    ) -> None:
        """`cells` is the number of cells of a placed job; each gets a folder in memory that its functions share.

        `memory` is the limit of each role in bytes; None or a missing role means no limit. `threads` is the number of
        threads of each process. `credentials_env` holds the store's environment variables. The variables PASSED_ON
        are taken from `environ`, by default this process's own.
        """
        self._environ = dict(os.environ if environ is None else environ)
        self._token = secrets.token_urlsafe(32)
        self._env = {key: self._environ[key] for key in PASSED_ON if key in self._environ} | {
            "SAPFLOW_TOKEN": self._token,
            "SAPFLOW_STORE": store_url,
            "SAPFLOW_LOG_LEVEL": self._environ.get("SAPFLOW_LOG_LEVEL", "WARNING"),
            "PYTHONHASHSEED": "0",
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
            **(credentials_env or {}),
        }
        self._commands: Mapping[Role, Sequence[str]] = commands or {
            role: [sys.executable, "-m", f"sapflow_functions.roles.{role}"] for role in ALL_ROLES
        }
        self._memory: Mapping[Role, int | None] = memory or {}
        self._idle_seconds = idle_seconds
        self._on_change = on_change or (lambda: None)
        self._slots = Slots(max_instances or available_cores())
        self._instances: list[Instance] = []
        self._warm: dict[tuple[Role, int], list[tuple[Instance, asyncio.TimerHandle]]] = defaultdict(list)
        self._served: dict[Hashable, Instance] = {}
        self._started = 0
        self._closed = False
        self._directory: RuntimeDirectory | None = None
        self._cells = CellFolders(cells, self._environ) if cells else None
        self._limiter = MemoryLimiter(cgroups=not (cells or _is_in_memory(store_url)))

    @property
    def max_instances(self) -> int:
        return self._slots.count

    @property
    def cell_folders(self) -> list[Path]:
        """The folder of each cell, by the cell's number."""
        return [] if self._cells is None else self._cells.paths

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """See Sender.invoke. Waiting merge calls go before waiting worker calls, so that steps under way finish."""
        cell = request.get("cell") or 0
        asked = time.perf_counter()
        caller = caller_of(request)
        instance: Instance | None = None
        await self._slots.acquire(urgent=role == "merger", job=str(request.get("job", "")), call=caller)
        try:
            granted = time.perf_counter()
            instance = self._take_warm(role, cell, caller)
            cold = 0.0
            if instance is None:
                instance = await self._start(role, cell)
                cold = time.perf_counter() - granted
            if caller is not None:
                self._remember(caller, instance)
            reply = await self._call(instance, request, seconds)
        finally:
            self._slots.release(None if instance is None else partial(self._suits, instance))
        return replace(reply, cold_seconds=cold, queue_seconds=granted - asked)

    def instances(self) -> list[InstanceInfo]:
        """The running processes, by role and index."""
        infos = [
            InstanceInfo(one.role, one.index, one.pid, one.state, one.calls, one.resident())
            for one in self._instances
            if one.alive
        ]
        return sorted(infos, key=lambda info: (info.role, info.index))

    async def close(self) -> None:
        """End every process and remove its files. Calls in flight end with an error."""
        self._closed = True
        for warm in self._warm.values():
            while warm:
                warm.pop()[1].cancel()
        for instance in self._instances:
            instance.kill()
        while self._instances:
            await self._instances[0].wait_gone()
        self._limiter.close()
        for folder in (self._directory, self._cells):
            if folder is not None:
                folder.remove()

    def _remember(self, caller: Hashable, instance: Instance) -> None:
        """Note who served a caller last. Where a search's trials have made callers more than any job has, those that
        have not called for longest are forgotten."""
        self._served.pop(caller, None)
        self._served[caller] = instance
        if len(self._served) > MOST_REMEMBERED:
            del self._served[next(iter(self._served))]

    def _suits(self, instance: Instance, caller: Hashable) -> bool:
        """Whether a call that waits is better made on this instance than on another one that lives."""
        last = self._served.get(caller)
        return last is None or last is instance

    def _take_warm(self, role: Role, cell: int, caller: Hashable) -> Instance | None:
        """The warm instance that served the caller last, else the one that was at work last, if any is warm."""
        if self._closed:
            raise InvocationError("the runtime is closed", reason="Closed")
        warm = self._warm[role, cell]
        preferred = self._served.get(caller)
        # The last one is tried first.
        warm.sort(key=lambda entry: entry[0] is preferred)
        while warm:
            instance, timer = warm.pop()
            timer.cancel()
            if instance.alive:
                return instance
        return None

    async def _start(self, role: Role, cell: int) -> Instance:
        if self._directory is None:
            self._directory = RuntimeDirectory(self._environ)
        self._started += 1
        place = self._directory.path / f"{role[0]}{self._started}"
        taken = {one.index for one in self._instances if one.role == role}
        index = next(i for i in range(len(taken) + 1) if i not in taken)
        try:
            instance = Instance(
                role,
                index,
                self._commands[role],
                self._env if self._cells is None else self._env | self._cells.environment(cell),
                place,
                unix=self._directory.unix,
                token=self._token,
                limiter=self._limiter,
                limit=self._memory.get(role),
                on_gone=self._forget,
                cell=cell,
            )
        except OSError as error:
            raise InvocationError(f"cannot start a {role}: {error}", reason="StartFailed") from error
        self._instances.append(instance)
        self._on_change()
        try:
            await instance.wait_until_ready()
        except BaseException:
            # This includes cancellation, when the call that the instance was started for is given up.
            self._drop(instance)
            raise
        return instance

    async def _call(self, instance: Instance, request: Mapping[str, Any], seconds: float) -> Reply:
        instance.state = "busy"
        instance.hold.watch(True)
        self._on_change()
        try:
            reply = await instance.call(request, seconds)
        except InvocationError as error:
            # A function that reports an error can serve the next call; a platform ends one that exceeds its limits.
            if isinstance(error, InvocationTimeout | OutOfMemory) or not instance.alive:
                self._drop(instance)
            else:
                self._keep_warm(instance)
            raise
        except BaseException:
            # If the call is cancelled, the instance is dropped, because it would continue to work on it.
            self._drop(instance)
            raise
        self._keep_warm(instance)
        return reply

    def _keep_warm(self, instance: Instance) -> None:
        if self._closed:
            return
        instance.hold.watch(False)
        instance.state = "warm"
        timer = asyncio.get_running_loop().call_later(self._idle_seconds, self._retire, instance)
        self._warm[instance.role, instance.cell].append((instance, timer))
        self._on_change()

    def _retire(self, instance: Instance) -> None:
        warm = self._warm[instance.role, instance.cell]
        warm[:] = [entry for entry in warm if entry[0] is not instance]
        self._drop(instance)

    def _drop(self, instance: Instance) -> None:
        """Kill an instance. It is forgotten as soon as its process is gone."""
        instance.state = "ending"
        instance.kill()

    def _forget(self, instance: Instance) -> None:
        self._instances.remove(instance)
        self._served = {caller: one for caller, one in self._served.items() if one is not instance}
        warm = self._warm[instance.role, instance.cell]
        for entry in [entry for entry in warm if entry[0] is instance]:
            entry[1].cancel()
            warm.remove(entry)
        self._on_change()


def available_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _is_in_memory(store_url: str) -> bool:
    """Whether the store is a directory on a tmpfs, the pages of which a cgroup would charge to functions."""
    parts = urlsplit(store_url)
    return parts.scheme in ("", "file") and on_tmpfs(Path(unquote(parts.path)))
