"""Rows of a search: what a driver adds to many short trials, the memory of many at once, and how soon one begins.

Functions are no-ops within this process, so that nothing but the search and its drivers is measured.
"""

import asyncio
import gc
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from bench.noop import HANDLERS
from bench.result import Result
from sapflow.client import tuning
from sapflow.data import cut
from sapflow.driver.plans import Environment
from sapflow.messages.replies import EvaluateReply
from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Reply
from sapflow.spec import tuning_document
from sapflow.spec.training_job import API_VERSION
from sapflow.spec.tuning_job import TUNING_KIND, TuningJob
from sapflow.tuning.actions import Action
from sapflow.tuning.run import SearchRun
from sapflow.tuning.runner import TuningObserver

TRIALS, AT_ONCE, SECONDS = 1_000, 16, 1.0
MANY = 200
OVERHEAD_GOAL = 1.10
BEGIN_GOAL = 0.5
MEMORY_GOAL = 0.5
_PHASES = {"read": 0.0, "compute": 0.0, "write": 0.0}


class Idle:
    """A sender whose functions answer at once, and to `train` after some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.first_calls: dict[str, float] = {}
        """When each job's first call came."""

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """As Sender.invoke."""
        self.first_calls.setdefault(str(request["job"]), time.monotonic())
        await asyncio.sleep(self._seconds if request["op"] == "train" else 0)
        return Reply(_answer(request), self._seconds, 0.0, 0.0)

    async def close(self) -> None:
        """There is nothing to end."""


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    if request["op"] == "evaluate":
        sums = {"loss": (0.5).hex(), "accuracy": (1.0).hex()}
        return EvaluateReply(done=True, seconds=_PHASES, position=1, samples=1, sums=sums).body()
    reply: dict[str, Any] = HANDLERS[request["op"]](dict(request), None).body()  # type: ignore[arg-type]
    return reply


def _job(trials: int, at_once: int) -> TuningJob:
    """A search by Random for a learning rate, whose trials have one step of one worker."""
    template = {
        "model": {"name": "mlp"},
        "data": {
            "source": "synthetic:binary",
            "options": {"samples": 4},
            "batchSize": 1,
            "validationFraction": 0.25,
        },
        "workers": 1,
        "algorithm": {"steps": 1},
        "evaluation": {"metrics": ["accuracy"]},
        "optimizer": {"name": "Momentum"},
        "merge": {"structure": [1, 1], "channel": "Store"},
    }
    spec = {
        "template": {"spec": template},
        "parameters": [
            {"path": "spec.optimizer.learningRate", "float": {"min": 0.001, "max": 1, "log": True}}
        ],
        "objective": {"metric": "loss", "direction": "Minimize"},
        "search": {"name": "Random"},
        "maxTrials": trials,
        "parallelTrials": at_once,
        "maxWorkers": at_once,
    }
    head = {"apiVersion": API_VERSION, "kind": TUNING_KIND, "metadata": {"name": "search"}}
    return tuning_document.parse({**head, "spec": spec})


class _Watch(TuningObserver):
    """When trials were asked for."""

    def __init__(self) -> None:
        self.asked: dict[int, float] = {}

    def began(self, action: Action) -> None:
        self.asked[action.trial] = time.monotonic()


def _run(
    environ: Mapping[str, str], trials: int, at_once: int, seconds: float
) -> tuple[float, list[float], float]:
    """The seconds of a search, how long each trial took to begin, and the MiB that Python held at its height."""
    job = _job(trials, at_once)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
        opened = stack.enter_context(tuning.open_tuning(job, environ, store=folder))
        manifest = cut.cut(opened.template, opened.store)
        sender, watch = Idle(seconds), _Watch()
        gc.collect()
        started = time.monotonic()
        environment = Environment(of_search=True)
        run = SearchRun(job, opened.prefix, manifest, opened.store, sender, environment, watch)
        outcome = asyncio.run(run.run())
        took = time.monotonic() - started
        assert outcome["trials"] == {"begun": trials, "finished": trials}, outcome
        uid = opened.uid
    waits = [sender.first_calls[f"{uid}/trials/{each}"] - watch.asked[each] for each in watch.asked]
    held = tracemalloc.get_traced_memory()[1] / 2**20 if tracemalloc.is_tracing() else 0.0
    return took, waits, held


def measure(environ: Mapping[str, str]) -> Iterator[Result]:
    """1,000 trials of a second, 16 at once; then 200 at once."""
    took, waits, _ = _run(environ, TRIALS, AT_ONCE, SECONDS)
    least = -(-TRIALS // AT_ONCE) * SECONDS
    yield Result(
        f"search: {TRIALS:,} trials of {SECONDS:g} s, {AT_ONCE} at once",
        f"{took:.1f} s",
        f"{least:.1f} s",
        took / least,
        OVERHEAD_GOAL,
    )
    late = statistics.quantiles(waits, n=100)[98]
    yield Result(
        "search: from a suggestion to the first call of its trial, the 99th of 100",
        f"{late:.3f} s",
        "—",
        late,
        BEGIN_GOAL,
        "s",
    )
    tracemalloc.start()
    try:
        _, _, few = _run(environ, MANY // 10, MANY // 10, SECONDS)
        tracemalloc.reset_peak()
        _, _, many = _run(environ, MANY, MANY, SECONDS)
    finally:
        tracemalloc.stop()
    each = (many - few) / (MANY - MANY // 10)
    yield Result(
        f"search: memory of the driver for one more trial at once, of {MANY}",
        f"{each:.3f} MiB",
        "—",
        each,
        MEMORY_GOAL,
        "MiB",
    )


if __name__ == "__main__":
    for result in measure(os.environ):
        print(" | ".join(result.cells), flush=True)
