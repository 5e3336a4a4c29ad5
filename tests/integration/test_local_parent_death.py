"""Whatever ends the process that holds an embedded runtime ends its functions, and leaves nothing for long."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from function_process import COMMAND, make_mark

from sapflow.runtimes.embedded.runtime import EmbeddedRuntime

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="the end of a stranger is told by pidfd only"
)

PARENT = f"""
import asyncio, os, sys
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime

async def main(directory, *marks):
    runtime = EmbeddedRuntime(
        directory + "/store",
        commands={{role: [*{COMMAND!r}, role] for role in ("worker", "merger")}},
        max_instances=3,
        memory={{"worker": 2**30}},
        environ={{**os.environ, "XDG_RUNTIME_DIR": directory}},
    )
    try:
        # One idles, one starts and is asked nothing, the others are at work.
        await runtime.invoke("merger", {{"op": "noop"}}, seconds=30)
        calls = [runtime.invoke("worker", {{"op": "wait", "mark": mark}}, seconds=60) for mark in marks]
        await asyncio.gather(*calls)
    finally:
        await runtime.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_no_function_outlives_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    marks = [make_mark(tmp_path) for _ in range(2)]
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), *map(str, marks)], stderr=subprocess.DEVNULL
    )
    pids = [int(mark.read_text()) for mark in marks]
    children = _children(parent.pid)
    assert set(pids) < set(children)
    ends = {os.pidfd_open(pid): pid for pid in children}
    poll = select.poll()
    for fd in ends:
        poll.register(fd, select.POLLIN)
    parent.send_signal(number)
    assert parent.wait(timeout=30) != 0
    while ends:
        ready = poll.poll(30_000)
        assert ready, f"still there: {ends.values()}"
        for fd, _ in ready:
            poll.unregister(fd)
            os.close(fd)
            del ends[fd]
    left = list(tmp_path.glob("sapflow-*"))
    if number == signal.SIGINT:
        assert left == []
    else:
        _start_another(tmp_path)
        assert not any(path.exists() for path in left)


def test_the_directory_of_a_living_runtime_is_not_swept(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}

    async def test() -> None:
        runtime = EmbeddedRuntime(
            str(tmp_path / "store"), commands={"worker": [*COMMAND, "worker"]}, environ=environ
        )
        try:
            first = await runtime.invoke("worker", {"op": "noop"}, seconds=30)
            await asyncio.to_thread(_start_another, tmp_path)
            second = await runtime.invoke("worker", {"op": "noop"}, seconds=30)
            assert first.body == second.body
            assert len(list(tmp_path.glob("sapflow-*"))) == 1
        finally:
            await runtime.close()

    asyncio.run(test())


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _start_another(directory: Path) -> None:
    """Another runtime, in a process of its own, that calls one function and closes."""
    mark = make_mark(directory)
    code = PARENT.replace('[runtime.invoke("worker"', '[] and [runtime.invoke("worker"')
    subprocess.run([sys.executable, "-c", code, str(directory), str(mark)], check=True)
