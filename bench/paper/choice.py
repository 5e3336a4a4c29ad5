"""`python -m bench.paper.choice [size …]`: the planner's choice beside the best of the structures measured.

Four sizes of parameters, from 1 kB to 100 MB; workers that do no arithmetic, real mergers and driver, MinIO behind
`LINK`. For each size some ways to merge are measured. The cost model is fitted to three of them, and the planner
chooses among all structures and shard counts. Also, a job that names no tree runs until it has planned again from its
own steps. Then both choices and the best of those measured are measured alternately, because it is partly luck which
of many is the best in one table.
"""

import argparse
import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench import stores
from bench.paper.light import Light, Steps, Tree
from bench.paper.link import Link, behind
from bench.paper.steptime import fit, nominal, seconds
from sapflow.planning import search
from sapflow.planning.constants import Constants
from sapflow.planning.cost_model import Work
from sapflow.planning.workload import Size, most_shards
from sapflow.quantities.prices import AWS_LAMBDA

LINK = Link(latency=0.2, bandwidth=25e6)
MOST_FUNCTIONS = 64
"""The most mergers on a level for which this machine has memory."""


@dataclass(frozen=True, slots=True)
class Case:
    """A size. The cost model is fitted to the first three trees."""

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
    """The planner's best of all trees and shard counts for which the machine has memory."""
    work = Work(workers=workers, parameters=parameters, compute_seconds=0.0, merger_memory=1 << 34)
    shards = search.feasible_shards(work, most_shards(Size(parameters, 0, 0, 0)))
    for found in search.search(work, constants, AWS_LAMBDA, shards=shards, most=500):
        if found.shards * max(found.structure[:-1]) <= MOST_FUNCTIONS:
            return Tree(found.structure, found.shards)
    raise RuntimeError(f"no tree of {workers} workers keeps to {MOST_FUNCTIONS} mergers a level")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The measurements of a size; `duel` has the best of `found` and the choice, measured alternately."""

    case: Case
    constants: Constants
    chosen: Tree
    automatic: Tree
    """The tree that a job without a tree arrives at."""
    found: dict[Tree, Steps]
    duel: dict[Tree, Steps]

    @property
    def best(self) -> Tree:
        return fastest(self.found)

    def ratio(self, tree: Tree) -> float:
        """Seconds of a tree divided by those of the best."""
        return 1.0 if tree == self.best else self.duel[tree].median / self.duel[self.best].median

    def rows(self) -> Iterator[str]:
        """The table."""
        for tree, steps in sorted(self.found.items(), key=lambda item: item[1].median):
            said = seconds(self.constants, tree, self.case.parameters)
            notes = ["fitted to"] if tree in self.case.trees[:CALIBRATION] else []
            notes += ["best measured"] if tree == self.best else []
            notes += ["chosen"] if tree == self.chosen else []
            spread = f"{min(steps.seconds):.2f} … {max(steps.seconds):.2f}"
            yield (
                f"  {tree!s:<16} {steps.median:>9.2f} s {spread:>15} {said:>8.2f} s {said / steps.median - 1:>+6.1%}"
                f"  {', '.join(notes)}"
            )
        if self.duel:
            yield f"  in turns: {', '.join(f'{tree} {steps.median:.2f} s' for tree, steps in self.duel.items())}"
        yield f"  the choice takes {self.ratio(self.chosen):.3f} times what the best measured takes"
        yield f"  a job that names no tree comes to {self.automatic}: {self.ratio(self.automatic):.3f} times"


def fastest(found: Mapping[Tree, Steps]) -> Tree:
    """The tree with the least median."""
    return min(found, key=lambda tree: found[tree].median)


async def measure(case: Case) -> Outcome:
    """Measure all trees of a size, the choice, and then the best and the choice alternately."""
    with stores.minio() as direct, behind(direct, LINK) as place:
        async with Light(direct, place, case.parameters, os.environ) as light:
            await light.warm(case.workers, min(case.mergers, case.workers))
            found = await light.measure(case.trees, rounds=case.rounds, steps=case.steps)
            medians = {tree: found[tree].median for tree in case.trees[:CALIBRATION]}
            constants = fit(medians, nominal(LINK), case.parameters)
            chosen, best = choose(constants, case.workers, case.parameters), fastest(found)
            automatic, duel = await light.planned(case.workers), {}
            sides = list(dict.fromkeys([chosen, automatic, best]))
            if len(sides) > 1:
                duel = await light.measure(sides, rounds=case.rounds + 1, steps=case.steps)
    return Outcome(case, constants, chosen, automatic, found, duel)


def main() -> None:
    names = [case.name.replace(" ", "") for case in CASES]
    parser = argparse.ArgumentParser(prog="python -m bench.paper.choice", description=__doc__)
    parser.add_argument("sizes", nargs="*", choices=[*names, []], metavar="size", help=", ".join(names))
    wanted = parser.parse_args().sizes or names
    for case in CASES:
        if case.name.replace(" ", "") in wanted:
            outcome = asyncio.run(measure(case))
            print(f"{case.name} of parameters, {case.workers} workers, MinIO, {LINK}", flush=True)
            print(f"  {'structure':<16} {'measured':>11} {'spread':>15} {'predicted':>10} {'error':>6}")
            print(*outcome.rows(), "", sep="\n", flush=True)


if __name__ == "__main__":
    main()
