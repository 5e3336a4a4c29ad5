"""Memory limits of processes: a cgroup for each where that is permitted, and a sampler in any case.

The limit is on the function's own memory. The sampler measures resident anonymous memory (resident minus shared pages
of /proc/PID/statm), because parameters that a function maps from a store are file pages that other functions map, too.
A cgroup charges a page of a tmpfs to the process that touched it first, and the sampler does not; so cgroups are not
used if the store is on a tmpfs. RLIMIT_AS is no alternative: it limits addresses, and torch reserves far more than it
uses.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SAMPLE_SECONDS = 0.05
PS_SAMPLE_SECONDS = 1.0
"""Interval of samples without /proc; it is longer because each sample runs `ps`."""


class ProcMemory:
    """Reads /proc/PID/statm through a descriptor that stays open; a sample takes a few microseconds."""

    interval = SAMPLE_SECONDS

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._page = os.sysconf("SC_PAGE_SIZE")

    def own(self) -> int:
        resident, shared = self._pages()
        return (resident - shared) * self._page

    def resident(self) -> int:
        return self._pages()[0] * self._page

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _pages(self) -> tuple[int, int]:
        if self._fd < 0:
            return 0, 0
        try:
            fields = os.pread(self._fd, 128, 0).split()
        except ProcessLookupError:
            return 0, 0
        return int(fields[1]), int(fields[2])


class PsMemory:
    """Runs `ps`, for systems without /proc (macOS). It does not separate shared pages."""

    interval = PS_SAMPLE_SECONDS

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def own(self) -> int:
        return self.resident()

    def resident(self) -> int:
        command = ["ps", "-o", "rss=", "-p", str(self._pid)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return int(answer) * 1024 if answer.isdecimal() else 0

    def close(self) -> None:
        pass


def open_memory(pid: int) -> ProcMemory | PsMemory:
    return ProcMemory(pid) if sys.platform == "linux" else PsMemory(pid)


class Cgroup:
    """A control group with a memory limit, for one process. Version 1 or 2."""

    def __init__(self, path: Path, version: int, limit: int) -> None:
        """Raises OSError if the group cannot be made or does not accept the limit."""
        self.path = path
        self._events = path / ("memory.events" if version == 2 else "memory.oom_control")
        path.mkdir()
        try:
            bound = path / ("memory.max" if version == 2 else "memory.limit_in_bytes")
            bound.write_text(str(limit))
            if abs(int(bound.read_text()) - limit) > os.sysconf("SC_PAGE_SIZE"):
                raise OSError(f"{bound} does not take the limit")
            # With swap a function could exceed its limit unnoticed.
            swap, most = ("memory.swap.max", 0) if version == 2 else ("memory.memsw.limit_in_bytes", limit)
            with contextlib.suppress(FileNotFoundError):
                (path / swap).write_text(str(most))
        except (OSError, ValueError) as error:
            self.remove()
            raise OSError(f"no memory limit in {path}: {error}") from error

    def add(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    def exceeded(self) -> bool:
        """Whether the kernel killed a process in the group because of the limit."""
        try:
            lines = self._events.read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines)

    def remove(self) -> None:
        """Remove the group. Its process must have been reaped, because a group with a process cannot be removed."""
        with contextlib.suppress(OSError):
            self.path.rmdir()


class CgroupMaker:
    """Makes cgroups beside or below this process's own, or none if that is not allowed."""

    def __init__(self) -> None:
        self._places = _cgroup_places() if sys.platform == "linux" else []
        self._serial = 0
        for _, place in self._places:
            _sweep_cgroups(place)

    def make(self, limit: int) -> Cgroup | None:
        while self._places:
            version, place = self._places[0]
            self._serial += 1
            try:
                return Cgroup(place / f"sapflow-{os.getpid()}-{self._serial}", version, limit)
            except OSError:
                # A place that refuses once is not tried again; the next one is, until none is left.
                self._places.pop(0)
        return None


def _cgroup_places() -> list[tuple[int, Path]]:
    """Pairs (version, directory) in which a group with a memory limit might be made, best first."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    places: list[tuple[int, Path]] = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        mount = Path(fields.split()[4])
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup" and "memory" in options.split(",") and "memory" in own:
            places.append((1, mount / own["memory"].lstrip("/")))
        elif kind == "cgroup2" and "" in own:
            here = mount / own[""].lstrip("/")
            # Version 2 allows processes in leaves only: a new group can be made beside our own, rarely below it.
            places += [(2, place) for place in (here, here.parent) if _gives_memory(place)]
    return places


def _gives_memory(place: Path) -> bool:
    try:
        return "memory" in (place / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _sweep_cgroups(place: Path) -> None:
    """Remove the groups of runtimes that were killed."""
    for path in place.glob("sapflow-*-*"):
        pid = path.name.split("-")[1]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            with contextlib.suppress(OSError):
                path.rmdir()


def on_tmpfs(path: Path) -> bool:
    """Whether `path`, or the folder in which it would be made, is on a memory file system."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    kinds = {line.split()[4]: line.partition(" - ")[2].split()[0] for line in mounts}
    resolved = path.resolve()
    return next((kinds[str(p)] for p in (resolved, *resolved.parents) if str(p) in kinds), "") in {
        "tmpfs",
        "ramfs",
    }


class MemoryLimiter:
    """Keeps processes within memory limits. Without `cgroups` only the sampler does it."""

    def __init__(self, *, cgroups: bool) -> None:
        self._use_cgroups = cgroups
        self._maker: CgroupMaker | None = None
        self._sampler = Sampler()

    def hold(self, pid: int, limit: int | None, kill: Callable[[], None]) -> "Hold":
        """Limit a process that was just started to `limit` bytes; with None its memory is only read.

        `kill` ends the process.
        """
        group = None
        if limit is not None and self._use_cgroups:
            self._maker = self._maker or CgroupMaker()
            group = self._maker.make(limit)
        if group is not None:
            try:
                group.add(pid)
            except OSError:
                group.remove()
                group = None
        hold = Hold(self._sampler, open_memory(pid), group, limit, kill)
        hold.watch(True)
        return hold

    def close(self) -> None:
        self._sampler.close()


class Hold:
    """The memory limit of a process."""

    def __init__(
        self,
        sampler: "Sampler",
        memory: ProcMemory | PsMemory,
        cgroup: Cgroup | None,
        limit: int | None,
        kill: Callable[[], None],
    ) -> None:
        self.memory = memory
        self.limit = limit
        self.kill = kill
        self.killed = False
        self._cgroup = cgroup
        self._sampler = sampler

    def watch(self, on: bool) -> None:
        """Switch sampling on or off. Only processes at work are sampled, since idle ones allocate nothing."""
        if on and self.limit is not None:
            self._sampler.add(self)
        else:
            self._sampler.discard(self)

    def exceeded(self) -> bool:
        """Whether the process was killed because of its limit. Call this before `release`."""
        return self.killed or (self._cgroup is not None and self._cgroup.exceeded())

    def release(self) -> None:
        """Clean up. Call this once the process has been reaped."""
        self.watch(False)
        self.memory.close()
        if self._cgroup is not None:
            self._cgroup.remove()


class Sampler:
    """Samples all processes at work with one timer, and kills those that exceed their limit."""

    def __init__(self) -> None:
        self._holds: set[Hold] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, hold: Hold) -> None:
        self._holds.add(hold)
        if self._timer is None:
            self._arm(hold.memory.interval)

    def discard(self, hold: Hold) -> None:
        self._holds.discard(hold)

    def close(self) -> None:
        self._holds.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, interval: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(interval, self._sample)

    def _sample(self) -> None:
        self._timer = None
        for hold in tuple(self._holds):
            if hold.limit is not None and hold.memory.own() > hold.limit:
                hold.killed = True
                self._holds.discard(hold)
                hold.kill()
        if self._holds:
            self._arm(next(iter(self._holds)).memory.interval)
