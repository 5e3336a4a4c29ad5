"""Memory limits of single processes: what is measured, and what a cgroup does."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sapflow.runtimes.embedded.memory_limit import Cgroup, CgroupMaker, ProcMemory, PsMemory, on_tmpfs

MIB = 2**20
ALLOCATE = """
import sys
sys.stdin.readline()
block = bytearray(int(sys.argv[1]))
block[::4096] = b"\\1" * len(block[::4096])
print("allocated", flush=True)
sys.stdin.readline()
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def allocator(size: int) -> subprocess.Popen[str]:
    """A process that allocates after a line on stdin, says so, and ends after another."""
    return subprocess.Popen(
        [sys.executable, "-c", ALLOCATE, str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def tell(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline()


@linux
def test_own_memory_is_what_a_process_allocated_itself() -> None:
    with allocator(64 * MIB) as process:
        memory = ProcMemory(process.pid)
        before = memory.own()
        assert tell(process) == "allocated\n"
        assert 64 * MIB <= memory.own() - before < 80 * MIB
        assert memory.resident() > memory.own()
        process.kill()
        process.wait()
        assert memory.own() == 0
        memory.close()


def test_ps_tells_resident_memory_where_there_is_no_proc() -> None:
    with allocator(64 * MIB) as process:
        assert tell(process) == "allocated\n"
        assert 64 * MIB <= PsMemory(process.pid).own() < 128 * MIB
        process.kill()
        process.wait()
        assert PsMemory(process.pid).own() == 0


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    group = CgroupMaker().make(32 * MIB)
    if group is None:
        pytest.skip("no cgroup with a memory limit may be made here")
    yield group
    group.remove()


def test_a_cgroup_ends_a_process_over_its_limit_and_says_so(cgroup: Cgroup) -> None:
    with allocator(64 * MIB) as process:
        cgroup.add(process.pid)
        assert not cgroup.exceeded()
        assert tell(process) == ""
        assert process.wait() == -signal.SIGKILL
    assert cgroup.exceeded()


def test_a_cgroup_lets_a_process_within_its_limit_be(cgroup: Cgroup) -> None:
    with allocator(8 * MIB) as process:
        cgroup.add(process.pid)
        assert tell(process) == "allocated\n"
        process.kill()
        process.wait()
    assert not cgroup.exceeded()


def test_a_group_that_ignores_its_limit_is_refused(tmp_path: Path) -> None:
    class Deaf(type(tmp_path)):  # type: ignore[misc]
        def write_text(self, *args: object, **kwargs: object) -> int:
            return 0

        def read_text(self, *args: object, **kwargs: object) -> str:
            return "max\n"

    with pytest.raises(OSError, match="no memory limit"):
        Cgroup(Deaf(tmp_path / "group"), 2, 32 * MIB)
    assert not (tmp_path / "group").exists()


@linux
def test_groups_of_killed_runtimes_are_swept(cgroup: Cgroup) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    stale = cgroup.path.with_name(f"sapflow-{ended.pid}-1")
    stale.mkdir()
    CgroupMaker()
    assert not stale.exists()
    assert cgroup.path.exists()


@linux
def test_tells_a_tmpfs_from_a_disk(tmp_path: Path) -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    in_memory = [mount[1] for mount in mounts if mount[2] == "tmpfs" and os.access(mount[1], os.X_OK)]
    for mount in in_memory[:1]:
        assert on_tmpfs(Path(mount) / "not" / "there" / "yet")
    assert not on_tmpfs(Path("/proc"))
