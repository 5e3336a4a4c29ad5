"""`python -m bench.paper.fig6`: Fig. 6, merging in warm workers against mergers of its own.

Case A's network on the embedded runtime, the functions real ones. Each run starts without any function: its first step
is cold. The two ways take turns.
"""

import asyncio
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from bench.stores import SHARED_MEMORY
from sapflow import job, session
from sapflow.driver.commits import Commit
from sapflow.driver.observer import Observer

WORKERS, BATCH = 8, 100
STRUCTURES = ([1, 8], [1, 2, 8], [1, 4, 8])
STEPS = 100
SETTLE = 3
RUNS = 4


@dataclass
class Way:
    """What was seen of one structure with or without reuse. Seconds; cold starts of a whole run."""

    first: list[float] = field(default_factory=list)
    """The first step of each run."""
    warm: list[float] = field(default_factory=list)
    """Warm steps of all runs."""
    starts: list[int] = field(default_factory=list)
    dollars: list[float] = field(default_factory=list)
    """Of a warm step's functions."""


class _Watch(Observer):
    """The clock from commit to commit."""

    def __init__(self, way: Way) -> None:
        self._way, self._last, self._cost = way, 0.0, 0.0

    def committed(self, commit: Commit) -> None:
        now = time.perf_counter()
        if commit.version == 1:
            self._way.first.append(now - self._last)
        elif commit.version > SETTLE:
            self._way.warm.append(now - self._last)
            self._way.dollars.append(commit.account.cost_usd - self._cost)
        if commit.version == STEPS:
            self._way.starts.append(commit.account.cold_starts)
        self._last, self._cost = now, commit.account.cost_usd


async def run(structure: list[int], way: Way, *, reuse: bool) -> None:
    """One job on functions of its own."""
    with (
        tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder,
        session.open_session(_job(structure, reuse=reuse), os.environ, store=folder) as opened,
    ):
        manifest = await asyncio.to_thread(opened.cut_data)
        await session.train(opened, manifest, os.environ, observer=_Watch(way), max_instances=2 * WORKERS)


def _job(structure: list[int], *, reuse: bool) -> job.TrainingJob:
    return job.parse(
        {
            "apiVersion": job.API_VERSION,
            "kind": job.KIND,
            "metadata": {"name": "fig6"},
            "spec": {
                "model": {"name": "mlp", "args": {"hidden": [100] * 5}},
                "data": {
                    "source": "synthetic:binary",
                    "options": {"samples": WORKERS * BATCH * 10},
                    "batchSize": BATCH,
                    "validationFraction": 0,
                },
                "workers": WORKERS,
                "algorithm": {"steps": STEPS},
                "optimizer": {"name": "Momentum", "learningRate": 0.1},
                "merge": {"structure": structure, "shards": 1, "reuseWorkers": reuse},
            },
        }
    )


async def measure() -> dict[tuple[int, bool], Way]:
    """By structure's place and reuse."""
    found = {(place, reuse): Way() for place in range(len(STRUCTURES)) for reuse in (False, True)}
    for number in range(RUNS):
        for (place, reuse), way in found.items() if number % 2 == 0 else reversed(found.items()):
            await run(STRUCTURES[place], way, reuse=reuse)
    return found


def main() -> None:
    found = asyncio.run(measure())
    table = Table(
        title=f"{WORKERS} workers × {BATCH} samples, case A's network; medians of {RUNS} runs of {STEPS} steps"
    )
    for name in ("structure", "merging in", "cold starts", "first step", "warm step", "µ$ a warm step"):
        table.add_column(name, justify="left" if name in ("structure", "merging in") else "right")
    for (place, reuse), way in found.items():
        table.add_row(
            str(STRUCTURES[place]),
            "warm workers" if reuse else "new mergers",
            f"{statistics.median(way.starts):.0f}",
            f"{statistics.median(way.first):.2f} s",
            f"{1000 * statistics.median(way.warm):.1f} ms",
            f"{1e6 * statistics.median(way.dollars):.2f}",
        )
    Console(width=120).print(table)
    for place, structure in enumerate(STRUCTURES):
        fresh, reused = found[place, False], found[place, True]
        print(
            f"{structure}: reuse takes {statistics.median(reused.first) / statistics.median(fresh.first):.2f} of the "
            f"first step and {statistics.median(reused.warm) / statistics.median(fresh.warm):.2f} of a warm one"
        )
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
