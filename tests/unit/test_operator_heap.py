"""What the operator gives back of the memory that many events took."""

import os
import subprocess
import sys

_PROGRAM = """
import json, random
from pathlib import Path
from sapflow_operator import heap

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

event = json.dumps({"metadata": [{f"f:{i}": {f"f:{j}": {} for j in range(20)}} for i in range(30)]})
luck, held, kept, before = random.Random(0), [], [], resident()
for number in range(2_000):
    held.append(json.loads(event))
    if number % 10 == 0:
        kept.append({"small": str(number)})
    if len(held) > 300:
        held.pop(luck.randrange(len(held)))
most = resident()
held.clear()
heap.trim()
print(before, most, resident())
"""


def test_memory_of_events_that_are_done_goes_back_although_small_things_stay_among_them() -> None:
    environ = {**os.environ, "PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], env=environ, capture_output=True, text=True, check=True
    )
    before, most, after = map(int, done.stdout.split())
    assert most > before + 4_000  # pages
    assert after - before < 0.3 * (most - before)
