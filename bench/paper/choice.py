"""`python -m bench.paper.choice [size …]`: the planner's choice beside the best of the structures measured.

Four sizes of parameters, from 1 kB to 100 MB; workers that do no arithmetic, real mergers and driver, MinIO behind
`LINK`. For each size some ways to merge are measured. The law is fitted to three of them, as a job's first steps would
tell it, and the planner chooses among all structures and shard counts; if its choice was not among those measured, it
is measured too, in turns with the best of them.
"""

import argparse
import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bench import stores
from bench.paper.light import Light, Steps, Tree
from bench.paper.link import Link, behind
from bench.paper.steptime import fit, nominal, seconds
from sapflow import planner
from sapflow.constants import Constants
from sapflow.law import Work
from sapflow.pricing import AWS_LAMBDA
from sapflow.workload import Size, most_shards

LINK = Link(latency=0.2, bandwidth=25e6)
MOST_FUNCTIONS = 64
"""Mergers of a level that this machine has memory for."""


@dataclass(frozen=True, slots=True)
class Case:
    """One size. The first three trees are those that the law is fitted to."""

    name: str
    parameters: int
    trees: tuple[Tree, ...]
    rounds: int
    steps: int

    @property
    def workers(self) -> int:
        return self.trees[0].structure[-1]

    @property
    def mergers(self) -> int:
        return max(tree.shards * max(tree.structure[:-1]) for tree in self.trees)


CASES = (
    Case(
        "1 kB",
        250,
        (
            Tree((1, 32)),
            Tree((1, 8, 32)),
            Tree((1, 2, 8, 32)),
            Tree((1, 2, 32)),
            Tree((1, 4, 32)),
            Tree((1, 16, 32)),
            Tree((1, 4, 16, 32)),
        ),
        rounds=2,
        steps=3,
    ),
    Case(
        "170 kB",
        42_601,
        (
            Tree((1, 32)),
            Tree((1, 8, 32)),
            Tree((1, 4, 32), 2),
            Tree((1, 2, 32)),
            Tree((1, 4, 32)),
            Tree((1, 16, 32)),
            Tree((1, 2, 8, 32)),
            Tree((1, 32), 4),
        ),
        rounds=2,
        steps=3,
    ),
    Case(
        "10 MB",
        2_500_000,
        (
            Tree((1, 8)),
            Tree((1, 4, 8)),
            Tree((1, 8), 4),
            Tree((1, 2, 8)),
            Tree((1, 8), 2),
            Tree((1, 4, 8), 2),
            Tree((1, 2, 8), 4),
            Tree((1, 8), 8),
        ),
        rounds=2,
        steps=3,
    ),
    Case(
        "100 MB",
        25_000_000,
        (
            Tree((1, 4)),
            Tree((1, 2, 4), 2),
            Tree((1, 4), 4),
            Tree((1, 2, 4)),
            Tree((1, 4), 2),
            Tree((1, 2, 4), 4),
            Tree((1, 4), 8),
        ),
        rounds=2,
        steps=2,
    ),
)
CALIBRATION = 3


def choose(constants: Constants, workers: int, parameters: int) -> Tree:
    """The planner's best of all trees and shard counts that the machine has room for."""
    work = Work(workers=workers, parameters=parameters, compute_seconds=0.0, merger_memory=1 << 34)
    shards = planner.feasible_shards(work, most_shards(Size(parameters, 0, 0, 0)))
    for found in planner.search(work, constants, AWS_LAMBDA, shards=shards, most=500):
        if found.shards * max(found.structure[:-1]) <= MOST_FUNCTIONS:
            return Tree(found.structure, found.shards)
    raise RuntimeError(f"no tree of {workers} workers keeps to {MOST_FUNCTIONS} mergers a level")


async def measure(case: Case) -> tuple[dict[Tree, Steps], Tree, Constants]:
    """What was measured, the planner's choice, which is among it, and the constants that it stands on."""
    with stores.minio() as direct, behind(direct, LINK) as place:
        async with Light(direct, place, case.parameters, os.environ) as light:
            await light.warm(case.workers, min(case.mergers, case.workers))
            found = await light.measure(case.trees, rounds=case.rounds, steps=case.steps)
            medians = {tree: found[tree].median for tree in case.trees[:CALIBRATION]}
            constants = fit(medians, nominal(LINK), case.parameters)
            chosen = choose(constants, case.workers, case.parameters)
            if chosen not in found:
                best = min(found, key=lambda tree: found[tree].median)
                again = await light.measure([chosen, best], rounds=case.rounds, steps=case.steps)
                found[chosen] = again[chosen]
                found[best].seconds += again[best].seconds
    return found, chosen, constants


def rows(found: dict[Tree, Steps], chosen: Tree, constants: Constants, case: Case) -> Iterator[str]:
    """The table of one size."""
    best = min(found, key=lambda tree: found[tree].median)
    for tree, steps in sorted(found.items(), key=lambda item: item[1].median):
        said = seconds(constants, tree, case.parameters)
        notes = ["fitted to"] if tree in case.trees[:CALIBRATION] else []
        notes += ["best measured"] if tree == best else []
        notes += ["chosen"] if tree == chosen else []
        spread = f"{min(steps.seconds):.2f} … {max(steps.seconds):.2f}"
        yield (
            f"  {tree!s:<22} {steps.median:>7.2f} s {spread:>15} {said:>8.2f} s {said / steps.median - 1:>+6.1%}  "
            f"{', '.join(notes)}"
        )
    ratio = found[chosen].median / found[best].median
    yield f"  the choice takes {ratio:.3f} times what the best measured takes"


def main() -> None:
    names = [case.name.replace(" ", "") for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m bench.paper.choice", description=__doc__)
    parser.add_argument("sizes", nargs="*", choices=[*names, []], metavar="size", help=", ".join(names))
    wanted = parser.parse_args().sizes or names
    for case in CASES:
        if case.name.replace(" ", "") in wanted:
            found, chosen, constants = asyncio.run(measure(case))
            print(f"{case.name} of parameters, {case.workers} workers, MinIO, {LINK}", flush=True)
            print(f"  {'structure':<22} {'measured':>9} {'spread':>15} {'predicted':>10} {'error':>6}")
            print(*rows(found, chosen, constants, case), "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
