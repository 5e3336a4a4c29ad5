"""Rows of a search's decisions: the CPU time of a suggestion, and memory and time of a restart with a long history."""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.result import Result, milliseconds
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.spec.tuning_document import parse
from sapflow.tuning.actions import Advance, Finished, Parameters
from sapflow.tuning.entries import Begin, Train
from sapflow.tuning.log import Log
from sapflow.tuning.search import Search
from sapflow.tuning.settings import Limits, Settings

HISTORIES = {1_000: 0.05, 20_000: 0.4}
"""Trials, and the seconds that a suggestion may take then."""
MEMORY_GOAL = 256.0
"""MiB that 20,000 trials may add to a driver, which has 512."""
RESTART_GOAL = 60.0
ASKED = 8
_PREFIX = "jobs/bench/"


def document() -> dict[str, Any]:
    """A search by TPE for five parameters of a network on digits, in any number of trials up to 20,000."""
    rate: dict[str, Any] = {"min": 0.0001, "max": 1.0, "log": True}
    return {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "TuningJob",
        "metadata": {"name": "bench"},
        "spec": {
            "template": {
                "spec": {
                    "model": {"name": "mlp", "args": {"hidden": [16]}},
                    "data": {"source": "sklearn:digits"},
                    "workers": 1,
                    "optimizer": {"name": "Momentum"},
                }
            },
            "parameters": [
                {"path": "spec.optimizer.learningRate", "float": rate},
                {"path": "spec.optimizer.momentum", "float": {"min": 0, "max": 0.99}},
                {"path": "spec.optimizer.weightDecay", "float": rate},
                {"path": "spec.model.args.hidden[0]", "int": {"min": 8, "max": 512, "log": True}},
                {"path": "spec.data.batchSize", "categorical": {"choices": [16, 32, 64]}},
            ],
            "objective": {"metric": "accuracy", "direction": "Maximize"},
            "search": {"name": "TPE"},
            "maxTrials": 20_000,
            "maxWorkers": 16,
        },
    }


def measure() -> Iterator[Result]:
    """Suggestions of TPE after histories of 1,000 and 20,000 trials, five parameters each."""
    for count, goal in HISTORIES.items():
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            yield from asyncio.run(_measure(DirectoryStore(folder), count, goal))


async def _measure(store: DirectoryStore, count: int, goal: float) -> list[Result]:
    job = parse(document())
    await _write(store, count - ASKED)
    search = Search(store, _PREFIX, Settings.of(job), Limits.of(job))
    memory, began = resident(), time.monotonic()
    await search.open()
    seconds, memory = time.monotonic() - began, resident() - memory
    asks = []
    for _ in range(ASKED):
        before = time.process_time()
        (action,) = await search.step(free=1)
        asks.append(time.process_time() - before)
        assert isinstance(action, Advance)
        await search.step([_finished(action.trial, action.parameters)], free=0)
    worst = sorted(asks)[len(asks) // 2]
    found = [
        Result(f"suggestion of TPE after {count:,} trials, CPU", milliseconds(worst), "—", worst, goal, "s")
    ]
    if count == max(HISTORIES):
        found.append(
            Result(f"memory of {count:,} trials", f"{memory:.0f} MiB", "512 MiB", memory, MEMORY_GOAL, "MiB")
        )
        found.append(
            Result(f"restart with {count:,} trials", f"{seconds:.1f} s", "—", seconds, RESTART_GOAL, "s")
        )
    return found


async def _write(store: DirectoryStore, count: int) -> None:
    """The log of so many finished trials."""
    log, chance = Log(store, _PREFIX), random.Random(0)
    for number in range(count):
        parameters = {
            "spec.optimizer.learningRate": 10 ** chance.uniform(-4, 0),
            "spec.optimizer.momentum": chance.uniform(0, 0.99),
            "spec.optimizer.weightDecay": 10 ** chance.uniform(-4, 0),
            "spec.model.args.hidden[0]": chance.randint(8, 512),
            "spec.data.batchSize": chance.choice((16, 32, 64)),
        }
        await log.append([Begin(number, parameters), Train(number, 10)])
        await log.append([_finished(number, parameters)])


def _finished(number: int, parameters: Parameters) -> Finished:
    value = 1.0 - abs(parameters["spec.optimizer.momentum"] - 0.9)
    return Finished(number, {"accuracy": value}, 10, 100, 1.0, 0.001)


def resident() -> float:
    """MiB of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
