"""`python -m bench.paper.month`: the cost of a simulated month of jobs on functions, compared with dedicated machines.

Jobs of case A arrive at random (a seeded Poisson process). On functions, each job is billed for the time that the cost
model predicts with Knative's constants. Dedicated machines, enough for one job's workers, are paid for all month, and
jobs queue for them. Break-even is the share of the month that machines must work for the functions to cost more.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from sapflow.planning import search
from sapflow.planning.constants import KNATIVE
from sapflow.planning.cost_model import Work
from sapflow.quantities.prices import (
    AWS_LAMBDA,
    AWS_LAMBDA_ARM,
    AZURE_FUNCTIONS,
    GOOGLE_CLOUD_RUN,
    MIB,
    PAPER_2018,
    Price,
    node_price,
)

HOURS = 730
"""Hours of a month, as clouds count it."""
WORKERS, STEPS = 16, 2_000
MEMORY = 1769
"""MiB of a function, which has one virtual CPU on Lambda and on the others."""
VM_USD_PER_HOUR, VM_CPUS, VM_MIB = 0.096, 2, 8 * 1024
"""AWS m6i.large, Linux, on demand, us-east-1: the list price as commonly quoted, not looked up at AWS."""
WORK = Work(
    workers=WORKERS,
    parameters=42_601,
    compute_seconds=0.5,
    slots=1,
    worker_memory=MEMORY * MIB,
    merger_memory=MEMORY * MIB,
    cpu_limits=(1.0, 1.0),
)
"""Case A's network with half a second of computing per step."""
PRICES = (
    AWS_LAMBDA,
    AWS_LAMBDA_ARM,
    GOOGLE_CLOUD_RUN,
    AZURE_FUNCTIONS,
    PAPER_2018,
    node_price(VM_USD_PER_HOUR, VM_CPUS, VM_MIB * MIB),
)
LOADS = (30, 300, 1_500)
"""Jobs a month."""


@dataclass(frozen=True, slots=True)
class Month:
    """A month of jobs, in hours and dollars."""

    jobs: int
    busy: float
    """Hours in which the machines work on a job."""
    waited: float
    """Mean hours that a job waits for the machines."""
    functions: float
    machines: float

    @property
    def utilisation(self) -> float:
        return self.busy / HOURS


def vms() -> int:
    """The number of machines for one job's workers, with a CPU each."""
    return -(-WORKERS // VM_CPUS)


def simulate(price: Price, jobs: int, seed: int = 0) -> Month:
    """Simulate a month with about `jobs` jobs."""
    best = search.search(WORK, KNATIVE, price, most=1)[0].prediction
    length = STEPS * best.seconds / 3600
    luck = random.Random(seed)
    arrivals, clock = [], luck.expovariate(jobs / HOURS)
    while clock < HOURS:
        arrivals.append(clock)
        clock += luck.expovariate(jobs / HOURS)
    free = waited = busy = 0.0
    for arrival in arrivals:
        begin = max(arrival, free)
        free = begin + length
        waited += begin - arrival
        busy += max(0.0, min(free, HOURS) - begin)
    return Month(
        jobs=len(arrivals),
        busy=busy,
        waited=waited / len(arrivals) if arrivals else 0.0,
        functions=len(arrivals) * STEPS * best.dollars,
        machines=vms() * VM_USD_PER_HOUR * HOURS,
    )


def break_even(price: Price) -> float:
    """The share of the month at which functions and machines cost the same; above 1 functions never cost more."""
    best = search.search(WORK, KNATIVE, price, most=1)[0].prediction
    functions_per_hour = best.dollars / best.seconds * 3600
    return vms() * VM_USD_PER_HOUR / functions_per_hour


def rows(prices: Sequence[Price] = PRICES, loads: Sequence[int] = LOADS) -> Iterator[tuple[str, ...]]:
    for price in prices:
        months = [simulate(price, load) for load in loads]
        bills = [f"${month.functions:,.0f}" for month in months]
        yield (price.platform, *bills, f"{100 * break_even(price):.0f} %")


def main() -> None:
    machines = [simulate(AWS_LAMBDA, load) for load in LOADS]
    table = Table(
        title=f"a month of jobs: case A, {WORKERS} workers of {MEMORY} MiB, {STEPS:,} steps of 0.5 s of gradients"
    )
    for name in ("where", *(f"{load:,} jobs" for load in LOADS), "break-even"):
        table.add_column(name, justify="left" if name == "where" else "right")
    table.add_row(f"{vms()} × m6i.large all month", *(f"${month.machines:,.0f}" for month in machines), "")
    table.add_row("  at work", *(f"{100 * month.utilisation:.0f} %" for month in machines), "")
    table.add_row("  a job waits", *(f"{60 * month.waited:.1f} min" for month in machines), "")
    for row in rows():
        table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
