"""`python -m bench.paper.memory`: Figs. 9 and 10, cost and performance per cost against memory, and where searches end.

It uses the paper's setting: case A, q = 10, at most 5 updates, 256 to 1,536 MB, ten searches, 100 runs for each size,
and the paper's prices. The paper's times, measured on Lambda in 2018, are not in its text. Here a step takes `FIXED`
seconds independent of memory, and computes for `WORK` / z seconds, because CPU follows memory; both vary by a
log-normal factor. So this shows the search on a noisy cost, not Lambda. It draws docs/figures/fig9.svg and fig10.svg.
"""

import math
import random
import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.paper import figure
from sapflow.monitoring.report.charts import Line
from sapflow.planning.memory_search import FIRST, Goal, Sizes, Trial, best, first, following
from sapflow.quantities.prices import MIB, PAPER_2018, cost

FIXED, WORK, NOISE = 0.6, 130.0, 0.25
"""Seconds; MiB × seconds; standard deviation of the logarithm of each step's seconds."""
WORKERS, Q, UPDATES, RUNS, SEARCHES = 100, 10, 5, 100, 10
SIZES = Sizes(256, 1536, step=64)
GOALS: tuple[Goal, ...] = ("Cost", "PerformancePerCost")
FIGURES: dict[Goal, tuple[str, str]] = {
    "Cost": ("fig9", "µ$ a step"),
    "PerformancePerCost": ("fig10", "10³ steps/($·s)"),
}
"""For each goal the figure's file and its subject."""


@dataclass(frozen=True, slots=True)
class Row:
    """`RUNS` steps of one size, by goal in the units of `FIGURES`."""

    size: int
    values: dict[Goal, list[float]]

    def mean(self, goal: Goal) -> float:
        return statistics.mean(self.values[goal])

    def deviation(self, goal: Goal) -> float:
        return statistics.stdev(self.values[goal])


def step(size: int, luck: random.Random) -> Trial:
    """A step of all workers with `size` MiB."""
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
    """A search, as in a job."""
    trials = [trial(size, luck) for size in first(SIZES, luck)]
    while len(trials) < FIRST + UPDATES and (size := following(trials, SIZES, goal)) is not None:
        trials.append(trial(size, luck))
    return trials


def chosen(goal: Goal, searches: int = SEARCHES) -> list[Trial]:
    """The trials that searches from random starts end with."""
    return [best(search(goal, random.Random(seed)), goal) for seed in range(searches)]


def shown(trial: Trial, goal: Goal) -> float:
    """A trial in the units of `FIGURES`."""
    return 1e6 * trial.dollars if goal == "Cost" else 1e-3 / trial.loss(goal)


def rows(more: Collection[int] = ()) -> list[Row]:
    """Rows for every 128 MiB and for the sizes `more`."""
    luck, found = random.Random(0), []
    for size in sorted({*range(256, 1537, 128), *more}):
        runs = [step(size, luck) for _ in range(RUNS)]
        found.append(Row(size, {goal: [shown(each, goal) for each in runs] for goal in GOALS}))
    return found


def drawing(goal: Goal, measured: Sequence[Row], ended: Sequence[Trial]) -> str:
    """The mean over memory, its deviation, and a dot for the final trial of each search."""
    sizes = Counter(trial.size for trial in ended)
    places = ", ".join(f"{number} at {size} MiB" for size, number in sorted(sizes.items()))
    series = [
        Line(f"mean of {RUNS} steps", "s1", [(row.size, row.mean(goal)) for row in measured], marks=True),
        *(
            Line(
                f"{sign} σ of a step",
                "s8",
                [(row.size, row.mean(goal) + factor * row.deviation(goal)) for row in measured],
            )
            for sign, factor in (("+", 1), ("−", -1))
        ),
        Line(
            f"where {len(ended)} searches end, as each measured: {places}",
            f"s2 {figure.POINTS}",
            [(trial.size, shown(trial, goal)) for trial in ended],
            marks=True,
        ),
    ]
    digits = 0 if goal == "Cost" else 1
    return figure.draw(series, x="MiB", y=FIGURES[goal][1], y_digits=digits)


def main() -> None:
    ended = {goal: chosen(goal) for goal in GOALS}
    measured = rows({trial.size for each in ended.values() for trial in each})
    table = Table(
        title=f"{SEARCHES} searches, q = {Q}, at most {UPDATES} updates; ± σ of {RUNS} steps a size"
    )
    for name in ("MiB", *(unit for _, unit in FIGURES.values()), "least cost ends", "best ratio ends"):
        table.add_column(name, justify="left" if "ends" in name else "right")
    for row in measured:
        table.add_row(
            f"{row.size:,}",
            f"{row.mean('Cost'):,.0f} ± {row.deviation('Cost'):,.0f}",
            f"{row.mean('PerformancePerCost'):,.2f} ± {row.deviation('PerformancePerCost'):,.2f}",
            *("●" * sum(trial.size == row.size for trial in ended[goal]) for goal in GOALS),
        )
    Console(width=120).print(table)
    for goal in GOALS:
        losses = {size: _expected(size).loss(goal) for size in range(SIZES.low, SIZES.high + 1, SIZES.step)}
        near = {size for size, loss in losses.items() if loss <= 1.05 * min(losses.values())}
        share = sum(trial.size in near for trial in chosen(goal, 1_000)) / 1_000
        print(f"{goal}: of 1,000 searches {100 * share:.0f} % end within 5 % of the best size")
    for goal, (name, _) in FIGURES.items():
        figure.save(name, drawing(goal, measured, ended[goal]))


def _expected(size: int) -> Trial:
    """A step without noise, billed for its exact duration."""
    seconds = FIXED + WORK / size
    return Trial(size, seconds, WORKERS * PAPER_2018.usd_per_mb_second * size * seconds)


if __name__ == "__main__":
    main()
