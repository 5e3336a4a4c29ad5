"""When the operator has its garbage collected."""

import asyncio
import gc
import subprocess
import sys

import pytest

from sapflow_operator import heap


def test_an_operator_that_does_not_grow_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    next_sizes = [size << 20 for size in (80, 60, 60, 60, 60, 60, 60, 60, 60, 60, 70, 61)]
    collected: list[int] = []

    async def watch() -> None:
        task = asyncio.create_task(heap.keep_small())
        while next_sizes:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    monkeypatch.setattr(heap, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(gc, "collect", lambda: collected.append(len(next_sizes)))
    monkeypatch.setattr(gc, "freeze", lambda: collected.append(0))
    monkeypatch.setattr(heap, "resident", lambda: next_sizes.pop(0))
    asyncio.run(watch())
    # Once at the start, before all that is set aside; 80 falls to 60, and three times more is collected; two times 60
    # is left alone; 70 falls to 61.
    assert collected == [12, 0, 11, 9, 7, 5, 1]


def test_the_size_in_memory_is_that_of_this_process() -> None:
    # In a process of its own: where an earlier test has left the allocator with free pages, nothing would grow.
    code = (
        "from sapflow_operator import heap\n"
        "before = heap.resident()\n"
        "held = bytearray(b'x') * (32 << 20)\n"
        "print(heap.resident() - before > len(held) // 2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "True"
