"""`python -m bench.paper.memory`: Figs. 9 and 10, cost and performance per cost against memory, and where searches end.

The paper's setting: case A, q = 10, at most 5 updates, 256 to 1,536 MB, ten searches, 100 runs a size, its prices. Its
times were measured on Lambda in 2018 and are not in the text. Here a step takes `FIXED` seconds that memory does not
change, and computes for `WORK` / z seconds, as CPU follows memory; both vary by a log-normal factor. So this shows
the search on a noisy cost, not Lambda.
"""

import math
import random
import statistics
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from sapflow.memory_search import FIRST, Goal, Sizes, Trial, best, first, following
from sapflow.pricing import MIB, PAPER_2018, cost

FIXED, WORK, NOISE = 0.6, 130.0, 0.25
"""Seconds; MiB × seconds; standard deviation of the logarithm of each step's seconds."""
WORKERS, Q, UPDATES, RUNS, SEARCHES = 100, 10, 5, 100, 10
SIZES = Sizes(256, 1536, step=64)
GOALS: tuple[Goal, ...] = ("Cost", "PerformancePerCost")


def step(size: int, luck: random.Random) -> Trial:
    """One step of all workers with so many MiB."""
    seconds = (FIXED + WORK / size) * luck.lognormvariate(0, NOISE)
    return Trial(size, seconds, WORKERS * cost(PAPER_2018, size * MIB, seconds))


def trial(size: int, luck: random.Random) -> Trial:
    """The mean over q steps."""
    steps = [step(size, luck) for _ in range(Q)]
    seconds = [each.seconds for each in steps]
    mean = statistics.mean(seconds)
    error = statistics.stdev(seconds) / mean / math.sqrt(Q)
    return Trial(size, mean, statistics.mean(each.dollars for each in steps), error)


def search(goal: Goal, luck: random.Random) -> list[Trial]:
    """One search as a job would make it."""
    trials = [trial(size, luck) for size in first(SIZES, luck)]
    while len(trials) < FIRST + UPDATES and (size := following(trials, SIZES, goal)) is not None:
        trials.append(trial(size, luck))
    return trials


def ends(goal: Goal, searches: int = SEARCHES) -> Counter[int]:
    """Where searches from random starts end."""
    return Counter(best(search(goal, random.Random(seed)), goal).size for seed in range(searches))


def rows() -> Iterator[tuple[str, ...]]:
    """By size: cost and its deviation, ratio and its deviation, ends of searches for each."""
    luck = random.Random(0)
    found = {goal: ends(goal) for goal in GOALS}
    sizes = sorted({*range(256, 1537, 128), *(size for each in found.values() for size in each)})
    for size in sizes:
        runs = [step(size, luck) for _ in range(RUNS)]
        costs = [1e6 * each.dollars for each in runs]
        ratios = [1e-3 / each.loss("PerformancePerCost") for each in runs]
        yield (
            f"{size:,}",
            f"{statistics.mean(costs):,.0f} ± {statistics.stdev(costs):,.0f}",
            f"{statistics.mean(ratios):,.2f} ± {statistics.stdev(ratios):,.2f}",
            *("●" * found[goal][size] for goal in GOALS),
        )


def main() -> None:
    table = Table(
        title=f"{SEARCHES} searches, q = {Q}, at most {UPDATES} updates; ± σ of {RUNS} steps a size"
    )
    for name in ("MiB", "µ$ a step", "10³ steps/($·s)", "least cost ends", "best ratio ends"):
        table.add_column(name, justify="left" if "ends" in name else "right")
    for row in rows():
        table.add_row(*row)
    Console(width=120).print(table)
    for goal in GOALS:
        losses = {size: _expected(size).loss(goal) for size in range(SIZES.low, SIZES.high + 1, SIZES.step)}
        least = min(losses.values())
        many = ends(goal, 1_000)
        share = sum(number for size, number in many.items() if losses[size] <= 1.05 * least) / 1_000
        print(f"{goal}: of 1,000 searches {100 * share:.0f} % end within 5 % of the best size")


def _expected(size: int) -> Trial:
    """A step without noise, billed to the instant."""
    seconds = FIXED + WORK / size
    return Trial(size, seconds, WORKERS * PAPER_2018.usd_per_mb_second * size * seconds)


if __name__ == "__main__":
    main()
