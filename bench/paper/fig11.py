"""`python -m bench.paper.fig11`: Fig. 11, the latency of a search against the number of its hyperparameter sets.

Case C's network is trained for `EPOCHS` epochs with each set. A desktop trains one set after the other: torch alone
with as many threads as there are cores, on samples in memory. On functions all sets are trained at once, each by a
worker that makes an epoch in a call. Two cores cannot compute for 64 workers, so a worker sleeps as long as a real one
took for an epoch, which is measured first, alone on one core. All else is real: the search, its log, the drivers, the
calls to a process each, the parameters and contributions in the store, the merging. Functions are warm.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench.idle_worker import PARAMETERS
from bench.paper import fashion, figure
from bench.rate_search import rate_search
from bench.sleeping_worker import EVALUATE_SECONDS, TRAIN_SECONDS
from bench.stores import SHARED_MEMORY
from sapflow import models
from sapflow.client import session, tuning
from sapflow.data import cut
from sapflow.data.dealing import Deal
from sapflow.data.order import Orders
from sapflow.data.sampler import Reader
from sapflow.driver.plans import Environment
from sapflow.monitoring.report.charts import Line
from sapflow.objects import keys
from sapflow.quantities.roles import Role
from sapflow.records.commits import Commit
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime, available_cores
from sapflow.runtimes.sender import Answered
from sapflow.spec import document
from sapflow.spec.training_job import API_VERSION, KIND
from sapflow.spec.tuning_job import TuningJob
from sapflow.steps.observer import Observer
from sapflow.tuning.run import SearchRun

HIDDEN = [256, 128]
BATCH, EPOCHS = 64, 5
SETS = (1, 2, 4, 8, 16, 32, 64)
FEW = 16
"""N of the row in which it does not allow all sets at once."""
RUNS = 3
MEASURED = 3
"""Epochs of a real worker that are measured, and sets of the desktop."""
GOAL = 1.15
_STARTED_AT_ONCE = 16
"""Functions that start together; more would exceed their time limit on few cores."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What a real worker's calls take, and how many parameters it has."""

    parameters: int
    train: float
    evaluate: float


class _Watch(Observer):
    """Keeps the seconds that functions computed, by operation, and the number of parameters."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}
        self.parameters = 0

    def committed(self, commit: Commit) -> None:
        self.parameters = commit.sizes.parameters

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        self.seconds.setdefault(op, []).append(sum(answer.reply.seconds.values()))


def _real_job() -> dict[str, Any]:
    """Case C's network on one worker that makes an epoch in a call."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "fig11"},
        "spec": {
            "model": {"name": "mlp", "args": {"hidden": HIDDEN}},
            "data": {**fashion.data(), "batchSize": BATCH},
            "workers": 1,
            "algorithm": {"epochs": MEASURED, "localSteps": -(-fashion.SAMPLES // BATCH)},
            "optimizer": {"name": "Momentum", "learningRate": 0.05},
            "merge": {"structure": [1, 1]},
            "memory": {"worker": "1Gi"},
        },
    }


async def measure_calls(folder: str) -> tuple[Calls, float]:
    """What a real worker's calls take on one core, and what a desktop takes for a set."""
    watch = _Watch()
    with session.open_session(document.parse(_real_job()), os.environ, store=folder) as opened:
        manifest = await asyncio.to_thread(opened.cut_data)
        desktop = statistics.median(_desktop(opened, MEASURED))
        await session.train(opened, manifest, os.environ, observer=watch, max_instances=1)
    train, evaluate = (statistics.median(watch.seconds[op]) for op in ("train", "evaluate"))
    return Calls(watch.parameters, train, evaluate), desktop


def _desktop(opened: session.Session, sets: int) -> list[float]:
    """The seconds of sets that torch alone trains, one after the other, without reading the samples."""
    job, manifest = opened.job, opened.cut_data()
    reader = Reader(opened.store, opened.resolved.data_prefix, manifest)
    deal = Deal(manifest.train_samples, manifest.train_samples, 1)
    samples = reader.batch(Orders(manifest.train, 0).locate(0, deal.shares(0, 0)))
    features, targets = (torch.from_numpy(each) for each in samples)
    torch.set_num_threads(available_cores())
    found = []
    for number in range(sets):
        network = models.build(
            "mlp", job.spec.model.args, inputs=manifest.shape, outputs=manifest.outputs, seed=number
        )
        rate = 0.01 * 2**number
        optimizer = torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)
        began = time.perf_counter()
        for _ in range(EPOCHS):
            order = torch.randperm(len(features))
            for places in order.split(BATCH):
                optimizer.zero_grad()
                loss = torch.nn.functional.cross_entropy(network(features[places]), targets[places])
                torch.autograd.backward(loss)
                optimizer.step()
        found.append(time.perf_counter() - began)
        print(f"  desktop, set {number + 1}: {found[-1]:.1f} s", file=sys.stderr, flush=True)
    return found


def _search(sets: int, most: int) -> TuningJob:
    """A search all of whose sets may be trained at once if `most` calls allow it."""
    return rate_search(f"fig11-{sets}-{most}", trials=sets, at_once=min(sets, most), most=most, steps=EPOCHS)


class Functions:
    """Sleeping workers and real mergers, which all searches share."""

    def __init__(self, folder: str, calls: Calls) -> None:
        self._folder, self._calls = folder, calls
        commands: dict[Role, list[str]] = {
            "worker": [sys.executable, "-m", "bench.sleeping_worker", "worker"],
            "merger": [sys.executable, "-m", "sapflow_functions.roles.merger"],
        }
        self._runtime = EmbeddedRuntime(
            f"file://{folder}",
            {
                PARAMETERS: str(calls.parameters),
                TRAIN_SECONDS: str(calls.train),
                EVALUATE_SECONDS: str(calls.evaluate),
            },
            commands=commands,
            max_instances=1024,
            idle_seconds=7200,
            environ={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    async def warm(self, sets: int) -> None:
        """Start the functions, a few at a time."""
        for count in range(_STARTED_AT_ONCE, sets + _STARTED_AT_ONCE, _STARTED_AT_ONCE):
            await self.seconds(min(count, sets), sets)

    async def seconds(self, sets: int, most: int) -> float:
        """What a search takes, from its first suggestion to the model of its best trial."""
        with tuning.open_tuning(_search(sets, most), os.environ, store=self._folder) as opened:
            manifest = await asyncio.to_thread(cut.cut, opened.template, opened.store)
            run = SearchRun(
                opened.job,
                opened.template,
                manifest,
                opened.store,
                self._runtime,
                Environment(of_search=True, instances=None),
            )
            began = time.monotonic()
            outcome = await run.run()
            took = time.monotonic() - began
            assert outcome["trials"] == {"begun": sets, "finished": sets}, outcome
            await asyncio.to_thread(opened.store.delete_prefix, keys.job(opened.uid))
        return took

    async def close(self) -> None:
        await self._runtime.close()


@dataclass(frozen=True, slots=True)
class Row:
    """What |H| sets take."""

    sets: int
    most: int
    """N, the calls that may be under way at once."""
    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.runs)


async def measure(runs: int) -> tuple[float, list[Row]]:
    """A desktop's seconds for a set, and a row for each number of sets; the last has the small N."""
    most = max(SETS)
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="sapflow-bench-") as folder:
        calls, desktop = await measure_calls(folder)
        print(
            f"  an epoch takes a worker {calls.train:.2f} s on one core, an evaluation {calls.evaluate:.2f} s",
            file=sys.stderr,
        )
        functions = Functions(folder, calls)
        try:
            await functions.warm(max(SETS))
            rows = []
            for sets in SETS:
                found = [await functions.seconds(sets, most) for _ in range(runs)]
                rows.append(Row(sets, most, tuple(found)))
                shown = ", ".join(f"{each:.1f}" for each in found)
                print(f"  {sets} sets: {shown} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
            rows.append(Row(max(SETS), FEW, (await functions.seconds(max(SETS), FEW),)))
        finally:
            await functions.close()
    return desktop, rows


def _print(desktop: float, rows: Sequence[Row]) -> None:
    table = Table(title=f"{EPOCHS} epochs of {HIDDEN} on {fashion.data()['source']} with each set")
    for name in ("|H|", "N", "desktop, one after the other", "functions, all at once", "× of one set"):
        table.add_column(name, justify="right")
    for row in rows:
        spread = f" ({min(row.runs):.1f} … {max(row.runs):.1f})" if len(row.runs) > 1 else ""
        table.add_row(
            str(row.sets),
            str(row.most),
            f"{row.sets * desktop:,.0f} s",
            f"{row.median:.1f} s{spread}",
            f"{row.median / rows[0].median:.2f}",
        )
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.paper.fig11", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each number of sets")
    before = os.getloadavg()[0]
    desktop, rows = asyncio.run(measure(parser.parse_args().runs))
    _print(desktop, rows)
    *flat, few = rows
    worst = max(row.median for row in flat) / flat[0].median
    print(f"flat within {100 * (worst - 1):.0f} % up to {flat[-1].sets} sets (to reach: 15 %)")
    print(f"with N = {few.most}, {few.sets} sets take {few.median / flat[0].median:.1f} times as long as one")
    print(f"load {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    lines = [
        Line(
            "desktop, one set after the other",
            "s1",
            [(row.sets, row.sets * desktop) for row in flat],
            marks=True,
        ),
        Line("functions, all sets at once", "s2", [(row.sets, row.median) for row in flat], marks=True),
    ]
    figure.save("fig11", figure.draw(lines, x="hyperparameter sets", y="seconds", y_digits=0))


if __name__ == "__main__":
    main()
