"""The last row: CPU seconds of the driver's process for one invocation, with functions that do nothing."""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping

from bench.idle_job import idle_job
from bench.result import Result, milliseconds
from sapflow.client import session
from sapflow.driver.driver import Driver
from sapflow.quantities.roles import Role
from sapflow.records.commits import Commit
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.steps.observer import Observer

WORKERS, MERGERS = 1_000, 32
STEPS = 12
SETTLE = 2
GOAL = 1.0


def measure(environ: Mapping[str, str]) -> Result:
    """Median over steps of 1,000 workers, 32 mergers and a root."""
    seconds = asyncio.run(_train(environ))
    return Result(
        f"driver: CPU for one invocation, {WORKERS:,} workers a step that do nothing",
        milliseconds(seconds),
        "—",
        1000 * seconds,
        GOAL,
        "ms",
    )


async def _train(environ: Mapping[str, str]) -> float:
    roles: tuple[Role, Role] = ("worker", "merger")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        opened = session.open_session(
            idle_job("noop", [1, MERGERS, WORKERS], STEPS, optimizer={"name": "Momentum"}),
            environ,
            store=folder,
        )
        manifest = opened.cut_data()
        here = {**environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        runtime = EmbeddedRuntime(
            opened.url,
            commands={role: [sys.executable, "-m", "bench.noop", role] for role in roles},
            environ=here,
        )
        watch = _CpuWatch()
        try:
            await Driver(opened.resolved, manifest, opened.store, runtime, watch).run()
        finally:
            await runtime.close()
    return statistics.median(watch.seconds[SETTLE:]) / (WORKERS + MERGERS + 1)


class _CpuWatch(Observer):
    """CPU seconds of this process between commits."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = 0.0

    def committed(self, commit: Commit) -> None:
        now = time.process_time()
        if commit.version > 0:
            self.seconds.append(now - self._last)
        self._last = now
