"""Rows of a search: what a driver adds to many short trials, the memory of many at once, how soon one begins, and how
time and memory of a trial grow with the trials before it.

Functions are no-ops within this process, so that nothing but the search and its drivers is measured. `python -m
bench.search 20000` runs so many trials in place of the last three rows' 4,000: a few minutes.
"""

import asyncio
import gc
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from bench.noop import HANDLERS
from bench.rate_search import rate_search
from bench.result import Result, milliseconds
from bench.suggestions import resident
from sapflow.client import tuning
from sapflow.data import cut
from sapflow.driver.plans import Environment
from sapflow.messages.replies import EvaluateReply
from sapflow.monitoring.tuning_progress import TuningProgress
from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Reply
from sapflow.timing import peak_memory
from sapflow.tuning.actions import Action, Event, Finished
from sapflow.tuning.run import SearchRun
from sapflow.tuning.runner import TuningObserver

TRIALS, AT_ONCE, SECONDS = 1_000, 16, 1.0
MANY = 200
LONG, HISTORY = 4_000, 20_000
OVERHEAD_GOAL = 1.10
BEGIN_GOAL = 0.5
MEMORY_GOAL = 0.5
GROWTH_GOAL = 1.2
HISTORY_GOAL = 256.0
"""MiB that the trials of a long search may add to a driver."""
DRIVER_LIMIT = 512.0
"""MiB of a driver in the chart: `driver.memory`."""
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


@dataclass
class _Watch(TuningObserver):
    """When trials were asked for, and what the process had used when so many had ended."""

    progress: TuningProgress
    """What every driver's displays and reports stand on."""
    asked: dict[int, float] = field(default_factory=dict)
    ended: list[tuple[float, float]] = field(default_factory=list)
    """CPU seconds and, at each hundredth, MiB in memory."""

    def began(self, action: Action) -> None:
        self.progress.began(action)
        self.asked[action.trial] = time.monotonic()

    def told(self, event: Event) -> None:
        assert isinstance(event, Finished)
        self.progress.told(event)
        memory = resident() if len(self.ended) % 100 == 99 else 0.0
        self.ended.append((time.process_time(), memory))


@dataclass(frozen=True)
class Run:
    """A search that has ended."""

    seconds: float
    waits: list[float]
    """Seconds from each trial's suggestion to its first call."""
    held: float
    """MiB that Python held at its height, where that is traced."""
    ended: list[tuple[float, float]]

    @property
    def late(self) -> float:
        """The 99th of 100 waits."""
        return statistics.quantiles(self.waits, n=100)[98]

    def cpu(self, first: int, last: int) -> float:
        """CPU seconds for one of these trials."""
        return (self.ended[last - 1][0] - self.ended[first - 1][0]) / (last - first)


def _run(
    environ: Mapping[str, str], trials: int, at_once: int, seconds: float, sampler: str = "Random"
) -> Run:
    job = rate_search("search", trials=trials, at_once=at_once, most=at_once, sampler=sampler)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
        opened = stack.enter_context(tuning.open_tuning(job, environ, store=folder))
        manifest = cut.cut(opened.template, opened.store)
        sender, watch = Idle(seconds), _Watch(TuningProgress(job))
        gc.collect()
        if tracemalloc.is_tracing():
            # The probe of the store has written a large object.
            tracemalloc.reset_peak()
        started = time.monotonic()
        environment = Environment(of_search=True)
        run = SearchRun(job, opened.template, manifest, opened.store, sender, environment, watch)
        outcome = asyncio.run(run.run())
        took = time.monotonic() - started
        assert outcome["trials"] == {"begun": trials, "finished": trials}, outcome
        uid = opened.uid
    waits = [sender.first_calls[f"{uid}/trials/{each}"] - watch.asked[each] for each in watch.asked]
    held = tracemalloc.get_traced_memory()[1] / 2**20 if tracemalloc.is_tracing() else 0.0
    return Run(took, waits, held, watch.ended)


def measure(environ: Mapping[str, str]) -> Iterator[Result]:
    """1,000 trials of a second, 16 at once; then 200 at once; then many that take no time."""
    yield from at_once(environ)
    yield from many_at_once(environ)
    yield from long(environ, LONG)


def at_once(environ: Mapping[str, str]) -> Iterator[Result]:
    """1,000 trials of a second, 16 at once."""
    least = -(-TRIALS // AT_ONCE) * SECONDS
    for sampler in ("Random", "TPE"):
        run = _run(environ, TRIALS, AT_ONCE, SECONDS, sampler)
        yield Result(
            f"search by {sampler}: {TRIALS:,} trials of {SECONDS:g} s, {AT_ONCE} at once",
            f"{run.seconds:.1f} s",
            f"{least:.1f} s",
            run.seconds / least,
            OVERHEAD_GOAL,
        )
        yield Result(
            f"search by {sampler}: from a suggestion to the first call of its trial, the 99th of 100",
            f"{run.late:.3f} s",
            "",
            run.late,
            BEGIN_GOAL,
            "s",
        )


def long(environ: Mapping[str, str], trials: int) -> Iterator[Result]:
    """So many trials that take no time, one after the other in 16 places, in a process with a driver's memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        run, peak = process.submit(_within_the_limit, dict(environ), trials).result()
    early, late = run.cpu(200, 1_000), run.cpu(trials - 800, trials)
    yield Result(
        f"search: CPU of the driver for one trial, of the last 800 of {trials:,} against those up to 1,000",
        milliseconds(late),
        milliseconds(early),
        late / early,
        GROWTH_GOAL,
    )
    grown = (run.ended[-1][1] - run.ended[999][1]) / (trials - 1_000) * HISTORY
    yield Result(
        f"search: memory that {HISTORY:,} trials add to the driver, by the last {trials - 1_000:,} of {trials:,}",
        f"{grown:.0f} MiB",
        f"{run.ended[-1][1]:.0f} MiB in all",
        grown,
        HISTORY_GOAL,
        "MiB",
    )
    yield Result(
        f"search: memory at its height of a process that ran {trials:,} trials to the end within a driver's limit",
        f"{peak:.0f} MiB",
        f"{DRIVER_LIMIT:.0f} MiB",
        peak,
        DRIVER_LIMIT,
        "MiB",
    )


def _within_the_limit(environ: Mapping[str, str], trials: int) -> tuple[Run, float]:
    """A search that could not have taken more memory than a driver has, and the process's memory at its height in
    MiB."""
    limit = int(DRIVER_LIMIT * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    run = _run(environ, trials, AT_ONCE, 0.0)
    return run, peak_memory() / 2**20


def many_at_once(environ: Mapping[str, str]) -> Iterator[Result]:
    """200 trials at once, and what one more of them takes."""
    tracemalloc.start()
    try:
        few = _run(environ, MANY // 10, MANY // 10, SECONDS).held
        many = _run(environ, MANY, MANY, SECONDS).held
    finally:
        tracemalloc.stop()
    each = (many - few) / (MANY - MANY // 10)
    yield Result(
        f"search: memory of the driver for one more trial at once, of {MANY}",
        f"{each:.3f} MiB",
        "",
        each,
        MEMORY_GOAL,
        "MiB",
    )


if __name__ == "__main__":
    found = long(os.environ, int(sys.argv[1])) if len(sys.argv) > 1 else measure(os.environ)
    for result in found:
        print(" | ".join(result.cells), flush=True)
