"""`python -m bench.paper.fig6`: Fig. 6, merging in warm workers compared with separate mergers.

It runs case A's network with real functions on the embedded runtime. Each run starts without any function, so its first
step is cold. The two ways alternate.

With `--cluster` the jobs run on the cluster that KUBECONFIG names, with Sapflow installed and its images on the nodes.
Then the first step is measured from `kubectl apply`. A job ends before all pods that Knative starts for it are up, so
few starts are seen. A first job, which loads the images, is not counted. The machine should do nothing else.
"""

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import stores
from sapflow.client import session
from sapflow.records.commits import Commit
from sapflow.spec import document, training_job
from sapflow.steps.observer import Observer

WORKERS, BATCH = 8, 100
STRUCTURES = ([1, 8], [1, 2, 8], [1, 4, 8])
STEPS = 100
SETTLE = 3
RUNS = 4


@dataclass
class Way:
    """The measurements of a structure with or without reuse: seconds, and functions started in a run."""

    first: list[float] = field(default_factory=list)
    """Seconds of the first step of each run."""
    warm: list[float] = field(default_factory=list)
    """Seconds of the warm steps of all runs."""
    starts: list[int] = field(default_factory=list)
    dollars: list[float] = field(default_factory=list)
    """The cost of the functions in a warm step."""

    def add(self, commits: Sequence[Commit]) -> None:
        """Add a run's starts and warm steps."""
        self.starts.append(commits[-1].account.cold_starts)
        for before, after in itertools.pairwise(commits):
            if before.version >= SETTLE:
                self.warm.append(after.account.seconds - before.account.seconds)
                self.dollars.append(after.account.cost_usd - before.account.cost_usd)


Found = dict[tuple[int, bool], Way]
"""The measurements by the structure's index and reuse."""


class _Watch(Observer):
    """Keeps the commits."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []

    def committed(self, commit: Commit) -> None:
        self.commits.append(commit)


async def run(structure: list[int], way: Way, *, reuse: bool) -> None:
    """Run a job with its own functions."""
    watch = _Watch()
    with (
        tempfile.TemporaryDirectory(dir=stores.SHARED_MEMORY) as folder,
        session.open_session(
            document.parse(_document(structure, reuse=reuse)), os.environ, store=folder
        ) as opened,
    ):
        manifest = await asyncio.to_thread(opened.cut_data)
        await session.train(opened, manifest, os.environ, observer=watch, max_instances=2 * WORKERS)
    way.first.append(watch.commits[1].account.seconds - watch.commits[0].account.seconds)
    way.add(watch.commits)


def run_on_the_cluster(structure: list[int], way: Way, *, reuse: bool) -> None:
    """Run a job, and wait until its functions are gone."""
    from helpers.kube import ONE_CPU, Job, namespace_of_its_own, wait_until

    from bench import cluster

    document = _document(structure, reuse=reuse)
    document["spec"] |= {"cpu": ONE_CPU, "memory": {"worker": "384Mi", "merger": "128Mi"}}
    with namespace_of_its_own("bench") as namespace:
        began = time.time()
        applied = Job.apply(namespace, document)
        applied.until_succeeded(900)
        way.first.append(cluster.first_commit(applied) - began)
        way.add(cluster.commits(applied, STEPS))
        applied.delete()
        wait_until(lambda: not applied.pods(), "no pods", 180)


def _document(structure: list[int], *, reuse: bool) -> dict[str, Any]:
    return {
        "apiVersion": training_job.API_VERSION,
        "kind": training_job.KIND,
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
            "merge": {"structure": structure, "shards": 1, "reuseWorkers": reuse, "channel": "Store"},
        },
    }


def measure(runs: int, *, on_the_cluster: bool) -> Found:
    """Measure every structure with and without reuse, alternately."""
    if on_the_cluster:
        run_on_the_cluster(STRUCTURES[0], Way(), reuse=False)  # this loads the images
    found = {(place, reuse): Way() for place in range(len(STRUCTURES)) for reuse in (False, True)}
    for number in range(runs):
        for (place, reuse), way in found.items() if number % 2 == 0 else reversed(found.items()):
            if on_the_cluster:
                run_on_the_cluster(STRUCTURES[place], way, reuse=reuse)
            else:
                asyncio.run(run(STRUCTURES[place], way, reuse=reuse))
            print(
                f"{STRUCTURES[place]}, reuse {reuse}: first step {way.first[-1]:.2f} s, {way.starts[-1]} starts",
                flush=True,
            )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.paper.fig6", description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="on the cluster that KUBECONFIG names")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each structure and way")
    given = parser.parse_args()
    found = measure(given.runs, on_the_cluster=given.cluster)
    table = Table(
        title=f"{WORKERS} workers × {BATCH} samples, case A's network; medians of {given.runs} runs of {STEPS} steps"
    )
    for name in ("structure", "merging in", "starts", "first step", "warm step", "µ$ a warm step"):
        table.add_column(name, justify="left" if name in ("structure", "merging in") else "right")
    for (place, reuse), way in found.items():
        table.add_row(
            str(STRUCTURES[place]),
            "warm workers" if reuse else "new mergers",
            f"{statistics.median(way.starts):.0f}",
            f"{statistics.median(way.first):.2f} s ({min(way.first):.2f} … {max(way.first):.2f})",
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
