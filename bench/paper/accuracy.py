"""`python -m bench.paper.accuracy [A] [B]`: Figs. 7 and 8, training accuracy against time, beside torch alone.

Case A with the paper's 100 workers and 50 iterations, case B with 4 workers, on the embedded runtime: as many functions
are at work as there are cores. Torch alone is one process with as many threads, the same network from the same seed
on the same samples in the same order, so that the curves differ in time alone.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import yaml

from bench.paper import figure
from bench.stores import SHARED_MEMORY
from sapflow import job, session
from sapflow.driver.commits import Commit
from sapflow.driver.observer import Observer
from sapflow.job import TrainingJob
from sapflow.local import available_cores
from sapflow.report.charts import Line

SAMPLES = figure.FOLDER.parents[1] / "manifests" / "samples"
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Case:
    """A sample of ours, as the paper ran it as far as minutes allow. `smooth`: steps that a point is a mean of."""

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
    """Seconds since version 0 stood, and the accuracy on each step's samples."""

    points: list[Point] = field(default_factory=list)
    _started: float = 0.0

    def committed(self, commit: Commit) -> None:
        if commit.version == 0:
            self._started = time.perf_counter()
        elif commit.measured.accuracy is not None:
            self.points.append((time.perf_counter() - self._started, commit.measured.accuracy))


def job_of(case: Case) -> TrainingJob:
    """The sample with the case's size, in one run of steps, nothing held out."""
    body: dict[str, Any] = yaml.safe_load((SAMPLES / case.file).read_text())
    spec = body["spec"]
    spec["workers"], spec["algorithm"] = case.workers, {"steps": case.steps}
    spec["merge"] = {"structure": list(case.structure), "shards": 1}
    spec["data"] |= {"batchSize": case.batch, "microBatchSize": case.batch, "validationFraction": 0}
    spec.pop("evaluation", None)
    spec.pop("checkpoint", None)
    return job.parse(body)


def measure(case: Case) -> tuple[list[Point], list[Point]]:
    """(seconds, training accuracy) after each step: on functions, and by torch alone on the same data."""
    watch = _Watch()
    with (
        tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder,
        session.open_session(job_of(case), os.environ, store=folder) as opened,
    ):
        manifest = opened.cut_data()
        asyncio.run(session.train(opened, manifest, os.environ, observer=watch))
        alone = subprocess.run(
            [sys.executable, "-m", "bench.paper.desktop", opened.url, opened.uid, str(available_cores())],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return watch.points, [tuple(json.loads(line)) for line in alone.stdout.splitlines()]


def smoothed(points: Sequence[Point], width: int) -> list[Point]:
    """Each point's accuracy as the mean of the last `width`; the first ones' of as many as there are."""
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
        if case.name not in wanted:
            continue
        before = os.getloadavg()[0]
        ours, alone = (smoothed(points, case.smooth) for points in measure(case))
        samples = case.workers * case.batch
        print(f"case {case.name}: {case.workers} workers × {case.batch:,} samples, {list(case.structure)}")
        print(f"  {'samples seen':>12} {'functions':>22} {'torch alone':>22}")
        for number in sorted({*range(case.steps // 10, case.steps + 1, case.steps // 10), 1}):
            cells = (f"{100 * a:.1f} % at {t:.1f} s" for t, a in (ours[number - 1], alone[number - 1]))
            print(f"  {number * samples:>12,} " + " ".join(f"{cell:>22}" for cell in cells))
        print(
            f"  functions take {ours[-1][0] / alone[-1][0]:.2f} times as long; load {before:.1f} before, "
            f"{os.getloadavg()[0]:.1f} after"
        )
        percent = [[(t, 100 * a) for t, a in points] for points in (ours, alone)]
        lines = [
            Line(f"Sapflow, {case.workers} workers on {available_cores()} cores", "s1", percent[0]),
            Line(f"torch alone, {available_cores()} threads", "s2", percent[1]),
        ]
        drawing = figure.draw(lines, x="seconds", y="training accuracy, %", y_digits=0, from_zero=False)
        figure.save(case.figure, drawing)


if __name__ == "__main__":
    main()
