"""What the operator gives back of the memory that many events took."""

import asyncio
import os
import subprocess
import sys

import pytest

from sapflow_operator import heap

_PROGRAM = """
import json, random
from sapflow_operator import heap

event = json.dumps({"metadata": [{f"f:{i}": {f"f:{j}": {} for j in range(20)}} for i in range(30)]})
luck, held, kept, before = random.Random(0), [], [], heap.resident()
for number in range(2_000):
    held.append(json.loads(event))
    if number % 10 == 0:
        kept.append({"small": str(number)})
    if len(held) > 300:
        held.pop(luck.randrange(len(held)))
most = heap.resident()
held.clear()
heap.trim()
print(before, most, heap.resident())
"""


def test_memory_of_events_that_are_done_goes_back_although_small_things_stay_among_them() -> None:
    environ = {**os.environ, "PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environ, capture_output=True, text=True, check=True
    )
    before, most, after = map(int, done.stdout.split())
    assert most > before + (16 << 20)
    assert after - before < 0.3 * (most - before)


def test_an_operator_that_does_not_grow_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    next_sizes = [size << 20 for size in (80, 60, 60, 60, 60, 60, 60, 60, 60, 60, 70, 61)]
    trimmed: list[int] = []

    async def watch() -> None:
        task = asyncio.create_task(heap.keep_trimmed())
        while next_sizes:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    monkeypatch.setattr(heap, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(heap, "trim", lambda: trimmed.append(len(next_sizes)))
    monkeypatch.setattr(heap, "resident", lambda: next_sizes.pop(0))
    asyncio.run(watch())
    # 80 is trimmed to 60 and three times more; two times 60 is left alone; 70 is trimmed to 61.
    assert trimmed == [11, 9, 7, 5, 1]
