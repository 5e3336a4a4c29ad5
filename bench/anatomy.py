"""Where a step's time goes: `python -m bench.anatomy [--runs N] [--load]` for the step of 2 workers × 1,000 samples.

With `--load` another process keeps one core busy meanwhile.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

from sapflow.records.commits import Commit


def anatomy(made: Sequence[Commit]) -> str:
    """Medians in milliseconds: where the time between two commits goes, in a tree of two levels."""

    def median(values: Iterable[float]) -> str:
        return f"{1000 * statistics.median(values):.1f}"

    parts = []
    for level, what in enumerate(("worker", "root")):
        usage = [each.measured.levels[level] for each in made]
        phases = sorted({name for each in usage for name in each.phases})
        means = {name: median(each.phases.get(name, 0.0) / each.calls for each in usage) for name in phases}
        within = ", ".join(f"{name} {mean}" for name, mean in means.items())
        parts.append(f"{what} {median(each.slowest for each in usage)} (mean {within})")
    queue = median(each.measured.phases.get("queue", 0.0) for each in made)
    return "; ".join([*parts, f"on the way, all calls together, {queue}"])


@contextlib.contextmanager
def _busy_core(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()


def main() -> None:
    from bench import steps

    parser = argparse.ArgumentParser(prog="python -m bench.anatomy")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--load", action="store_true")
    given = parser.parse_args()
    ratios = []
    with _busy_core(given.load):
        for _ in range(given.runs):
            watch = steps.watch(steps.CASES[0], os.environ)
            result = steps.result(steps.CASES[0], watch)
            ratios.append(result.figure)
            print(f"{result.ours}, DDP {result.reference}, {result.figure:.2f} ×: {anatomy(watch.commits)}")
    print(f"median of {given.runs} runs: {statistics.median(ratios):.2f} ×")


if __name__ == "__main__":
    main()
