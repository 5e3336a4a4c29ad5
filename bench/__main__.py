"""`python -m bench [row …]`: measure the rows named, or all, and print one table."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from datetime import date

from rich.console import Console
from rich.table import Table

from bench import (
    data_bytes,
    driver,
    early,
    gradient_sets,
    halving,
    merger,
    merging,
    partition,
    placement,
    preparation,
    search,
    serving,
    steps,
    stores,
    suggestions,
    synchronise,
)
from bench.result import COLUMNS, Result

Rows = Callable[[], Iterator[Result]]


def step() -> Iterator[Result]:
    """A step of a job, compared with one of torch DDP on gloo."""
    for case in steps.CASES:
        yield steps.measure(case, os.environ)


def merge() -> Iterator[Result]:
    """A tree of merges, compared with a textbook handler, and between the two stores."""
    with stores.minio() as minio, stores.directory() as directory:
        yield from merging.measure(minio, directory, shards=1, goal=0.65, goal_directory=0.25)
        yield from merging.measure(minio, directory, shards=4, goal=0.7, goal_directory=0.25)


def synchronisation() -> Iterator[Result]:
    """A step without computation, compared with LambdaML's two patterns."""
    with stores.minio() as minio:
        yield synchronise.measure(minio, os.environ, parameters=42_601, goal=0.06)
        yield synchronise.measure(minio, os.environ, parameters=3_225_000, goal=0.45)


def t_m() -> Iterator[Result]:
    """The time of one more child of a merger."""
    with stores.directory() as directory:
        yield gradient_sets.measure(directory, goal=0.3)
    with stores.minio() as minio:
        yield gradient_sets.measure(minio, goal=2)


def size() -> Iterator[Result]:
    """A merger's start time and memory."""
    for place in (stores.directory, stores.minio):
        with place() as store:
            yield from merger.measure(store)


def overhead() -> Iterator[Result]:
    """The driver's CPU time for an invocation."""
    yield driver.measure(os.environ)


def cells() -> Iterator[Result]:
    """A placed job, compared with the same job without cells."""
    with stores.minio() as minio:
        yield from placement.measure(minio, os.environ)


def data() -> Iterator[Result]:
    """A step that reads much data, compared with LambdaML's pattern, which keeps its partition."""
    with stores.minio() as minio:
        yield from partition.measure(minio, os.environ)


def data_read() -> Iterator[Result]:
    """What an epoch reads, by the number of workers and instances."""
    yield from data_bytes.measure()


def suggestion() -> Iterator[Result]:
    """A search's suggestions after 1,000 and 20,000 trials."""
    yield from suggestions.measure()


def searches() -> Iterator[Result]:
    """What a search adds to its trials, and how many it holds at once."""
    yield from search.measure(os.environ)


def learns_early() -> Iterator[Result]:
    """TPE that learns from paused trials, against Random, on simulated curves."""
    yield from early.measure()


def pausing() -> Iterator[Result]:
    """Pausing ASHA against the full grid, with real training."""
    yield from halving.measure(os.environ)


def raw_table() -> Iterator[Result]:
    """A raw table made into blocks, compared with pandas and scikit-learn's ColumnTransformer."""
    yield from preparation.measure(os.environ)


def served() -> Iterator[Result]:
    """A served model, compared with bare FastAPI, MLServer and LitServe."""
    yield from serving.measure(os.environ)


PAPER = ("table3", "fig3", "steptime", "choice", "fig6", "accuracy", "memory", "case_c", "fig11", "month")
"""Modules of bench/paper. The outputs of `python -m bench.paper.NAME` are in docs/paper.md."""

ROWS: dict[str, Rows] = {
    "step": step,
    "merge": merge,
    "synchronise": synchronisation,
    "t_m": t_m,
    "merger": size,
    "driver": overhead,
    "placement": cells,
    "data": data,
    "bytes": data_read,
    "suggestion": suggestion,
    "search": searches,
    "early": learns_early,
    "halving": pausing,
    "preparation": raw_table,
    "serving": served,
}


def main() -> int:
    """Print the table. A missed goal is shown there, and is no failure of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"The paper's tables and figures: python -m bench.paper.NAME, with one of {', '.join(PAPER)}.",
    )
    parser.add_argument("rows", nargs="*", metavar="row", help=f"one of {', '.join(ROWS)}; none: all")
    names = parser.parse_args().rows or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    console, results = Console(width=None if sys.stdout.isatty() else 180), []
    for name in names:
        for result in ROWS[name]():
            print(" | ".join(result.cells), file=sys.stderr, flush=True)
            results.append(result)
    table = Table(*COLUMNS, title=_machine())
    for result in results:
        table.add_row(*result.cells)
    console.print(table)
    return 0


def _machine() -> str:
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    return (
        f"{date.today().isoformat()}, {cores} cores ({platform.machine()}), {memory:.0f} GiB, "
        f"Python {platform.python_version()}, load at the end {load:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
