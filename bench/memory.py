"""`python -m bench.memory`: compares the results of searches for the workers' memory size with a sweep of all sizes.

It uses the cluster that KUBECONFIG names, with Sapflow installed and its images on the nodes. The machine should do
nothing else. CPU follows memory. For each size of the sweep a job trains to its end, and the medians of its warm steps
count. Then jobs search from different first sizes, and the sizes that they end with are measured like those of the
sweep. The sweep is made in rounds before and after the searches, whose differences show how much a few per cent mean.
Ten sizes in three rounds and six searches take half an hour.
"""

import argparse
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.kube import Job, namespace_of_its_own

from bench import cluster
from sapflow.planning.memory_search import Goal, Trial
from sapflow.records.commits import Commit
from sapflow.spec.training_job import API_VERSION, KIND

LEAST, MOST = 384, 1536
SWEEP = (384, 448, 512, 640, 768, 896, 1024, 1152, 1344, 1536)
STARTS = (1024, 512, 1536)
GOALS: tuple[Goal, ...] = ("Cost", "PerformancePerCost")
WORKERS, EVERY, UPDATES = 2, 10, 8
SETTLE = 5.0
"""Seconds after the last start of a function for which no step counts: shorter, and every size seems slower than it is
in a job that goes on for longer."""
SECONDS = 900


@dataclass(frozen=True, slots=True)
class Search:
    """A search: its trials, and the size that it ended with, in MiB."""

    goal: Goal
    start: int
    tried: Sequence[int]
    end: int
    slow: int
    """Number of steps in which workers had to be started, without the first step."""


def job(name: str, memory: dict[str, Any], steps: int) -> dict[str, Any]:
    """Case A's network on batches that keep a worker busy."""
    spec = {
        "model": {"name": "mlp", "args": {"hidden": [100] * 5}},
        "data": {
            "source": "synthetic:binary",
            "options": {"samples": 100_000},
            "batchSize": 12_000,
            "validationFraction": 0.04,
        },
        "workers": WORKERS,
        "algorithm": {"steps": steps, "seed": 0},
        "optimizer": {"name": "Momentum", "learningRate": 0.1, "momentum": 0.9},
        "merge": {"structure": [1, WORKERS], "shards": 1},
        "evaluation": {"everySteps": steps},
        "memory": {"merger": "128Mi"} | memory,
    }
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def measured(size: int, steps: int) -> Trial:
    """The medians of a step with workers of `size` MiB, from one job."""
    with namespace_of_its_own("bench") as namespace:
        done = Job.apply(namespace, job("sweep", {"worker": f"{size}Mi"}, steps))
        done.until_succeeded(SECONDS)
        found = _settled(cluster.commits(done, steps))
    seconds = statistics.median(each.measured.seconds for each in found)
    dollars = statistics.median(sum(usage.cost_usd for usage in each.measured.levels) for each in found)
    return Trial(size, seconds, dollars)


def searched(goal: Goal, start: int, steps: int) -> Search:
    """Run a job that searches, to its end."""
    asked = {
        "goal": goal,
        "everySteps": EVERY,
        "maxUpdates": UPDATES,
        "min": f"{LEAST}Mi",
        "max": f"{MOST}Mi",
    }
    with namespace_of_its_own("bench") as namespace:
        done = Job.apply(namespace, job("search", {"worker": f"{start}Mi", "optimize": asked}, steps))
        done.until_succeeded(SECONDS)
        found = cluster.commits(done, steps)
    last = found[-1].measured.search
    assert last is not None
    if not last.done:
        print(f"the job of {steps} steps was over before its search was", file=sys.stderr)
    slow = sum(new.account.cold_starts > old.account.cold_starts for old, new in pairwise(found[1:]))
    return Search(goal, start, [each.size for each in last.trials], last.size, slow)


def _settled(commits: Sequence[Commit]) -> list[Commit]:
    """The commits of steps that began after all functions had been running for some time."""
    started = max(
        new.account.seconds
        for old, new in pairwise(commits)
        if new.version == 1 or new.account.cold_starts > old.account.cold_starts
    )
    return [each for each in commits if each.account.seconds - each.measured.seconds - started > SETTLE]


def middle(rounds: Sequence[Trial]) -> Trial:
    """The medians over all rounds of a size."""
    seconds, dollars = [each.seconds for each in rounds], [each.dollars for each in rounds]
    return Trial(rounds[0].size, statistics.median(seconds), statistics.median(dollars))


def sweep_rows(rounds: dict[int, list[Trial]]) -> Iterator[tuple[str, ...]]:
    known = {size: middle(each) for size, each in sorted(rounds.items())}
    best = {goal: min(each.loss(goal) for each in known.values()) for goal in GOALS}
    for size, trial in known.items():
        dollars = [each.dollars for each in rounds[size]]
        yield (
            f"{size:,}",
            f"{1000 * trial.seconds:.0f} ms",
            f"{1e6 * trial.dollars:.3f}",
            f"{max(dollars) / min(dollars):.3f}",
            *(f"{trial.loss(goal) / best[goal]:.3f}" for goal in GOALS),
        )


def main() -> int:
    """Print the sweep and the searches."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--steps", type=int, default=120, help="of a job of the sweep (default: %(default)s)")
    parser.add_argument(
        "--search-steps", type=int, default=600, help="of a searching job (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="of the sweep, before and after the searches (default: %(default)s)",
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=SWEEP, metavar="MIB", help="of the sweep")
    parser.add_argument(
        "--starts", type=int, nargs="*", default=STARTS, metavar="MIB", help="of the searches"
    )
    parser.add_argument("--goals", nargs="*", default=GOALS, choices=GOALS)
    given = parser.parse_args()
    rounds: dict[int, list[Trial]] = {}

    def sweep(sizes: Iterable[int]) -> None:
        for size in sizes:
            rounds.setdefault(size, []).append(measured(size, given.steps))
            print(rounds[size][-1], flush=True)

    found = []
    sweep(given.sizes)
    for goal in given.goals:
        for start in given.starts:
            found.append(searched(goal, start, given.search_steps))
            print(found[-1], flush=True)
    ends_only = sorted({each.end for each in found} - set(given.sizes))
    sweep(ends_only)
    for _ in range(given.rounds - 1):
        sweep([*given.sizes, *ends_only])
    known = {size: middle(each) for size, each in rounds.items()}
    table = Table(
        "MiB",
        "a step",
        "µ$ a step",
        "dearest round, of the cheapest",
        *(f"{goal}, of the best" for goal in GOALS),
        title=f"{datetime.now():%Y-%m-%d}",
    )
    for row in sweep_rows(rounds):
        table.add_row(*row)
    ends = Table("goal", "from", "tried", "ends at", "of the best", "updates", "slowed steps")
    for each in found:
        least = min(trial.loss(each.goal) for trial in known.values())
        ends.add_row(
            each.goal,
            f"{each.start:,}",
            ", ".join(map(str, each.tried)),
            f"{each.end:,}",
            f"{known[each.end].loss(each.goal) / least:.3f}",
            f"{max(0, len(each.tried) - 2)}",
            f"{each.slow}",
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print(ends)
    return 0


if __name__ == "__main__":
    sys.exit(main())
