"""`python -m bench.paper.accuracy [A] [B]`: Figs. 7 and 8, training accuracy against time, beside torch alone.

Case A with the paper's 100 workers and 50 iterations, case B with 4 workers, on the embedded runtime: as many functions
are at work as there are cores. Torch alone is one process with one thread, and with as many as cores: the same network
from the same seed on the same samples in the same order, so that the curves differ in time alone.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import yaml

from bench.paper import figure
from bench.stores import SHARED_MEMORY
from sapflow.client import session
from sapflow.monitoring.report.charts import Line
from sapflow.records.commits import Commit
from sapflow.runtimes.embedded.runtime import available_cores
from sapflow.spec import document
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.observer import Observer

SAMPLES = figure.FOLDER.parents[1] / "manifests" / "samples"
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Case:
    """A sample with the paper's sizes, as far as a few minutes allow. Each point is the mean of `smooth` steps."""

    name: str
    figure: str
    file: str
    steps: int
    workers: int
    structure: tuple[int, ...]
    batch: int
    smooth: int


CASES = (
    Case("A", "fig7", "case-a.yaml", 50, 100, (1, 5, 22, 100), 1_000, smooth=1),
    Case("B", "fig8", "case-b.yaml", 250, 4, (1, 4), 32, smooth=10),
)


@dataclass
class _Watch(Observer):
    """Records seconds since version 0 and the accuracy on each step's samples."""

    points: list[Point] = field(default_factory=list)
    _started: float = 0.0

    def committed(self, commit: Commit) -> None:
        if commit.version == 0:
            self._started = time.perf_counter()
        elif commit.measured.accuracy is not None:
            self.points.append((time.perf_counter() - self._started, commit.measured.accuracy))


def job_of(case: Case) -> TrainingJob:
    """The sample's job with the case's size, without held-out samples."""
    body: dict[str, Any] = yaml.safe_load((SAMPLES / case.file).read_text())
    spec = body["spec"]
    spec["workers"], spec["algorithm"] = case.workers, {"steps": case.steps}
    spec["merge"] = {"structure": list(case.structure), "shards": 1}
    spec["data"] |= {"batchSize": case.batch, "microBatchSize": case.batch, "validationFraction": 0}
    spec.pop("evaluation", None)
    spec.pop("checkpoint", None)
    return document.parse(body)


def measure(case: Case) -> dict[str, list[Point]]:
    """(seconds, training accuracy) after each step: on functions, and by torch alone on the same data."""
    watch, cores = _Watch(), available_cores()
    with (
        tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder,
        session.open_session(job_of(case), os.environ, store=folder) as opened,
    ):
        manifest = opened.cut_data()
        asyncio.run(session.train(opened, manifest, os.environ, observer=watch))
        found = {f"functions, {case.workers} workers on {cores} cores": watch.points}
        for threads in sorted({1, cores}):
            name = f"torch alone, {threads} thread{'' if threads == 1 else 's'}"
            found[name] = _alone(opened.url, opened.uid, threads)
    return found


def _alone(url: str, uid: str, threads: int) -> list[Point]:
    command = [sys.executable, "-m", "bench.paper.desktop", url, uid, str(threads)]
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def smoothed(points: Sequence[Point], width: int) -> list[Point]:
    """Each point's accuracy as the mean of the last `width` points, or of fewer at the beginning."""
    sums = [0.0, *accumulate(accuracy for _, accuracy in points)]
    return [
        (seconds, (sums[end] - sums[max(0, end - width)]) / min(width, end))
        for end, (seconds, _) in enumerate(points, 1)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.paper.accuracy", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help="A or B; none: both")
    wanted = parser.parse_args().cases or [case.name for case in CASES]
    for case in CASES:
        if case.name in wanted:
            before = os.getloadavg()[0]
            found = {name: smoothed(points, case.smooth) for name, points in measure(case).items()}
            print(
                f"case {case.name}: {case.workers} workers × {case.batch:,} samples, {list(case.structure)}"
            )
            print(*_rows(case, found), sep="\n")
            print(f"  load {before:.1f} before, {os.getloadavg()[0]:.1f} after", flush=True)
            lines = [
                Line(name, f"s{number}", [(seconds, 100 * accuracy) for seconds, accuracy in points])
                for number, (name, points) in enumerate(found.items(), 1)
            ]
            drawing = figure.draw(lines, x="seconds", y="training accuracy, %", y_digits=0, from_zero=False)
            figure.save(case.figure, drawing)


def _rows(case: Case, found: Mapping[str, Sequence[Point]]) -> Iterator[str]:
    """Accuracy and seconds after every tenth of the steps."""
    yield f"  {'samples seen':>12} {'accuracy':>9} " + " ".join(f"{name:>36}" for name in found)
    ours = next(iter(found.values()))
    for number in sorted({1, *range(case.steps // 10, case.steps + 1, case.steps // 10)}):
        times = " ".join(f"{points[number - 1][0]:>34.1f} s" for points in found.values())
        yield f"  {number * case.workers * case.batch:>12,} {100 * ours[number - 1][1]:>7.1f} % {times}"
    for name, points in list(found.items())[1:]:
        apart = max(abs(a[1] - b[1]) for a, b in zip(ours, points, strict=True))
        ratio = ours[-1][0] / points[-1][0]
        yield f"  {ratio:.2f} times as long as {name}; accuracies are {100 * apart:.1f} points apart at most"


if __name__ == "__main__":
    main()
