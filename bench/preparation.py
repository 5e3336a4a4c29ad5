"""The preparation of a raw table by two preparers on two cores, beside pandas and a ColumnTransformer in one process.

Ours is the released path from the CSV file to blocks and manifest: a driver, and local functions on a store that is a
directory. The reference reads the same file and makes the same features, and writes them to a file in the same place.
"""

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench import function_start, raw_table, table_reference
from bench.result import Result
from bench.stores import directory
from sapflow.client import session
from sapflow.driver import preparation
from sapflow.quantities.roles import Role
from sapflow.runtimes.sender import Answered
from sapflow.spec import document, training_job
from sapflow.steps.observer import Observer

PREPARERS = 2
ROWS, MORE = 5_000_000, 10_000_000
STARTS = 15
GOAL_SECONDS, GOAL_MEBIBYTES, GOAL_RATIO, GOAL_FOUND, GOAL_START = 60, 350, 0.6, 1, 0.5
GOAL_GROWTH = 1.1


def measure(environ: Mapping[str, str], rows: int = ROWS, more: int = MORE) -> Iterator[Result]:
    """Seconds and memory of a preparation, of another one with more rows, of finding it again, and of a start."""
    size = f"{rows:,} rows × {raw_table.COLUMNS} columns"
    with tempfile.TemporaryDirectory(prefix="sapflow-bench-") as folder:
        table = Path(folder, "table.csv")
        raw_table.write(table, rows)
        seconds, peak, found = _prepare(table, environ)
        theirs = _reference(table, Path(folder, "features.npy"), environ)
        Path(folder, "features.npy").unlink()
        raw_table.write(table, more)
        _, peak_of_more, _ = _prepare(table, environ)
    yield Result(
        f"preparation of {size} by {PREPARERS} preparers", f"{seconds:.1f} s", "—", seconds, GOAL_SECONDS, "s"
    )
    yield Result(
        "the same against pandas and ColumnTransformer",
        f"{seconds:.1f} s",
        f"{theirs['seconds']:.1f} s",
        seconds / theirs["seconds"],
        GOAL_RATIO,
    )
    yield Result(
        "the same: memory of a preparer at its height",
        f"{peak:.0f} MiB",
        f"{theirs['mebibytes']:.0f} MiB",
        peak,
        GOAL_MEBIBYTES,
        "MiB",
    )
    yield Result(
        f"the same of {more:,} rows",
        f"{peak_of_more:.0f} MiB",
        f"{rows:,} rows: {peak:.0f} MiB",
        peak_of_more / peak,
        GOAL_GROWTH,
    )
    yield Result("the same, found again", f"{found:.2f} s", "—", found, GOAL_FOUND, "s")
    yield start(environ)


def start(environ: Mapping[str, str]) -> Result:
    """A preparer's start beside a merger's, both to the first answer of `healthz`, in turns."""
    preparer, merger = function_start.medians(("preparer", "merger"), environ, STARTS)
    return Result(
        "start of a preparer to its first healthz, more than a merger's",
        f"{preparer.seconds:.2f} s, {preparer.seconds / merger.seconds:.2f} × ({preparer.cpu:.2f} s of CPU)",
        f"{merger.seconds:.2f} s ({merger.cpu:.2f} s of CPU)",
        preparer.seconds - merger.seconds,
        GOAL_START,
        "s",
    )


def job_of(table: Path) -> training_job.TrainingJob:
    """A job whose preparation makes the features of `bench.table_reference`."""
    medians, means = list(table_reference.MEDIANS), list(table_reference.MEANS)
    one_hot = list(table_reference.ONE_HOT)
    steps: list[dict[str, Any]] = [
        {"dates": {"columns": [raw_table.TIME], "parts": ["Month", "Weekday", "Hour"]}},
        {"impute": {"columns": medians, "strategy": "Median"}},
        {"impute": {"columns": means + list(raw_table.COUNTS), "strategy": "Mean"}},
        {"scale": {"columns": medians + means, "method": "Standard"}},
        {"scale": {"columns": list(raw_table.COUNTS), "method": "MinMax"}},
        {"encode": {"columns": one_hot, "method": "OneHot"}},
        {
            "encode": {
                "columns": [name for name in raw_table.LEVELS if name not in one_hot],
                "method": "Ordinal",
                "unseen": "Ignore",
            }
        },
    ]
    split = {"fraction": table_reference.HELD_OUT}
    body: dict[str, Any] = {
        "model": {"name": "mlp"},
        "data": {
            "source": str(table),
            "format": "csv",
            "prepare": {"target": raw_table.TARGET, "split": split, "steps": steps},
        },
        "workers": PREPARERS,
        "algorithm": {"steps": 1},
    }
    return document.parse(
        {
            "apiVersion": training_job.API_VERSION,
            "kind": training_job.KIND,
            "metadata": {"name": "table"},
            "spec": body,
        }
    )


def _prepare(table: Path, environ: Mapping[str, str]) -> tuple[float, float, float]:
    """Seconds, the most MiB of a function, and the seconds in which what is prepared is found again."""
    job, watch = job_of(table), _Watch()
    with directory() as place:
        began, before = time.perf_counter(), _cpu_seconds()
        asyncio.run(_run(job, place.url, environ, watch))
        seconds, watch.cpu = time.perf_counter() - began, _cpu_seconds() - before
        began = time.perf_counter()
        asyncio.run(_run(job, place.url, environ, Observer()))
        found = time.perf_counter() - began
    watch.print()
    return seconds, watch.peak / 2**20, found


async def _run(job: training_job.TrainingJob, url: str, environ: Mapping[str, str], watch: Observer) -> None:
    """What `sapflow prepare` does between reading the job and printing."""
    with session.open_session(job, environ, store=url) as opened:
        resolved = opened.settle()
        runtime = session.local_functions(job, url, environ, PREPARERS)
        try:
            await preparation.prepare(resolved, opened.store, runtime, watch, at_once=PREPARERS)
        finally:
            await runtime.close()


class _Watch(Observer):
    """The peak of all functions, and the seconds that calls of each kind took in all."""

    def __init__(self) -> None:
        self.peak = 0
        self.cpu = 0.0
        """Seconds of CPU of the driver and the functions."""
        self._seconds: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        self.peak = max(self.peak, answer.reply.peak_memory_bytes)
        for phase, seconds in {**answer.reply.seconds, "all": answer.seconds}.items():
            self._seconds[op][phase] += seconds

    def print(self) -> None:
        for op, phases in self._seconds.items():
            told = ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in phases.items())
            print(f"  {op}: {told}", file=sys.stderr)
        print(f"  CPU: {self.cpu:.1f} s", file=sys.stderr)


def _cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _reference(table: Path, target: Path, environ: Mapping[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.table_reference", str(table), str(target)]
    done = subprocess.run(command, env=dict(environ), check=True, capture_output=True)
    found: dict[str, float] = json.loads(done.stdout)
    print(f"  the reference's CPU: {found['cpu']:.1f} s", file=sys.stderr)
    return found


if __name__ == "__main__":
    for result in measure(os.environ, *map(int, sys.argv[1:])):
        print(" | ".join(result.cells))
