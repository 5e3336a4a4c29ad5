"""Row 10: how fast a merger starts and how small it stays.

Resident memory is what /proc counts: a process's own pages and those of files that it maps, shared or not.
"""

import asyncio
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.result import Result
from bench.stores import Place
from sapflow.messages.refs import Ref
from sapflow.messages.requests import MergeRequest
from sapflow.objects import contribution
from sapflow.objects.sums import Sums
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime

STARTS = 15
SMALL, LARGE = 42_601, 25_000_000
CHILDREN = 50
MEBIBYTE = 1 << 20
GOAL_IMPORT, GOAL_AFTER = 330, 72
GOAL_PEAK = GOAL_AFTER + 2 * 4 * LARGE / MEBIBYTE

IMPORTS = """
import time
started = time.perf_counter()
from sapflow_functions.process import quick_imports
from sapflow_functions.roles import merger
with quick_imports():
    import sapflow_functions.app, sapflow_functions.roles.merging, uvicorn, sapflow.objects.stores.{store}
print(time.perf_counter() - started)
"""
"""Everything that a merger imports before its first call, in the same way as it does at its start."""

_LIBRARIES = """
import time
started = time.perf_counter()
import fastapi, numpy, uvicorn
print(time.perf_counter() - started)
"""


def measure(place: Place) -> list[Result]:
    """Import time with the store's client, resident memory after a call, and peak memory in a large merge."""
    imports, libraries = _import_milliseconds("s3" if place.environ else "directory")
    after, peak = asyncio.run(_memory(place))
    return [
        Result(
            f"merger, {place.name}: imports",
            f"{imports:.0f} ms",
            f"libraries alone: {libraries:.0f} ms",
            imports,
            GOAL_IMPORT,
            "ms",
        ),
        Result(
            f"merger, {place.name}: resident after a call", f"{after:.1f} MiB", "—", after, GOAL_AFTER, "MiB"
        ),
        Result(
            f"merger, {place.name}: peak with {CHILDREN} children of {4 * LARGE // 10**6} MB",
            f"{peak:.0f} MiB",
            "2 contributions + 72 MiB",
            peak,
            round(GOAL_PEAK),
            "MiB",
        ),
    ]


def _import_milliseconds(store: str) -> tuple[float, float]:
    """Medians over new interpreters with a function's environment: of a merger, and of the libraries alone."""
    environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    programs = (IMPORTS.format(store=store), _LIBRARIES)
    seconds: list[list[float]] = [[], []]
    for _ in range(STARTS):
        for taken, program in zip(seconds, programs, strict=True):
            command = [sys.executable, "-c", program]
            done = subprocess.run(command, env=environ, check=True, capture_output=True)
            taken.append(float(done.stdout))
    ours, libraries = (1000 * statistics.median(taken) for taken in seconds)
    return ours, libraries


async def _memory(place: Place) -> tuple[float, float]:
    """Resident MiB after a call that merges two small contributions, and their peak while it merges 50 large ones."""
    runtime = EmbeddedRuntime(place.url, place.environ)
    try:
        await _merge(place, runtime, SMALL, 2)
        after = _resident(runtime, "VmRSS")
        await _merge(place, runtime, LARGE, CHILDREN)
        return after, _resident(runtime, "VmHWM")
    finally:
        await runtime.close()


async def _merge(place: Place, runtime: EmbeddedRuntime, count: int, children: int) -> None:
    """Merge the same stored contribution `count` times; to the merger they are different children."""
    child, output = f"child-{count}", f"sum-{count}"
    store = place.open()
    vector = np.ones(count, np.float32)
    store.create(child, contribution.encode(vector, Sums(1, {"loss": 1.0}).to_metadata()))
    request = MergeRequest(
        job="bench",
        version=1,
        seconds_left=300,
        children=[Ref(key=child, start=0, stop=count)] * children,
        output=Ref(key=output, start=0, stop=count),
    )
    await runtime.invoke("merger", request.body(), seconds=300)
    store.delete([child, output])


def _resident(runtime: EmbeddedRuntime, field: str) -> float:
    (instance,) = runtime.instances()
    status = Path(f"/proc/{instance.pid}/status").read_text()
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024
