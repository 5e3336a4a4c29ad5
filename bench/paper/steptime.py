"""`python -m bench.paper.steptime`: measured and predicted seconds per step of many structures.

16 and 64 workers that do no arithmetic, real mergers and driver, MinIO behind `LINK`. The cost model's constants are
fitted to every other structure, and predict those between them: no step is predicted from itself. The fit starts from
what the link is set to.
"""

import asyncio
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import stores
from bench.paper import figure
from bench.paper.light import Light, Steps, Tree
from bench.paper.link import Link, behind
from sapflow.planning import calibration
from sapflow.planning.calibration import Measurement
from sapflow.planning.constants import LOCAL_MINIO, Constants
from sapflow.planning.cost_model import CostModel, Work
from sapflow.planning.least_squares import r_squared
from sapflow.quantities.prices import AWS_LAMBDA

PARAMETERS = 42_601
LINK = Link(latency=0.2, bandwidth=25e6)
TREES = tuple(
    map(
        Tree,
        (
            (1, 16),
            (1, 2, 16),
            (1, 4, 16),
            (1, 8, 16),
            (1, 2, 4, 16),
            (1, 2, 8, 16),
            (1, 4, 8, 16),
            (1, 2, 4, 8, 16),
            (1, 64),
            (1, 2, 64),
            (1, 4, 64),
            (1, 8, 64),
            (1, 16, 64),
            (1, 32, 64),
            (1, 2, 8, 64),
            (1, 4, 16, 64),
            (1, 8, 32, 64),
            (1, 2, 8, 32, 64),
        ),
    )
)
ROUNDS, STEPS = 3, 3
PULL = 0.01
"""The starting constants are known to a factor of about three, a measurement to three percent."""


@dataclass(frozen=True, slots=True)
class Row:
    """The measured median and the prediction of a step's seconds."""

    tree: Tree
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def nominal(link: Link) -> Constants:
    """Constants with the link's settings; all others are those of local processes with MinIO."""
    byte = 1 / link.bandwidth
    return LOCAL_MINIO.changed(
        f"nominal, {link}",
        {
            "request": link.latency,
            "fetch": link.latency,
            "read": byte,
            "write": byte,
            "fetch_byte": byte,
            # The time of a child without the transfer of its bytes.
            "child_byte": 1e-9,
        },
    )


def seconds(constants: Constants, tree: Tree, parameters: int) -> float:
    """The prediction for a step of idle workers."""
    work = Work(workers=tree.structure[-1], parameters=parameters, compute_seconds=0.0)
    return CostModel(work, constants).predict(tree.structure, tree.shards, AWS_LAMBDA).seconds


def fit(measured: Mapping[Tree, float], start: Constants, parameters: int) -> Constants:
    """Constants that are fitted to the median seconds of some trees."""
    steps = [
        Measurement(
            Work(workers=tree.structure[-1], parameters=parameters, compute_seconds=0.0),
            tree.structure,
            tree.shards,
            median,
        )
        for tree, median in measured.items()
    ]
    return calibration.fit(steps, start, pull=PULL)


def crossed(measured: Mapping[Tree, float], start: Constants, parameters: int) -> list[Row]:
    """The prediction of each tree from the trees in the other half of the places, in the order measured."""
    trees = list(measured)
    halves = [fit({tree: measured[tree] for tree in trees[odd::2]}, start, parameters) for odd in (0, 1)]
    return [
        Row(tree, measured[tree], seconds(halves[1 - place % 2], tree, parameters))
        for place, tree in enumerate(trees)
    ]


def summary(rows: Sequence[Row]) -> str:
    errors = [abs(row.error) for row in rows]
    fitted = r_squared([row.measured for row in rows], [row.predicted for row in rows])
    return f"R² {fitted:.4f}, median error {statistics.median(errors):.1%}, largest {max(errors):.1%}"


async def measure() -> dict[Tree, Steps]:
    with stores.minio() as direct, behind(direct, LINK) as place:
        async with Light(direct, place, PARAMETERS, os.environ) as light:
            await light.warm(workers=64, mergers=32)
            return await light.measure(TREES, rounds=ROUNDS, steps=STEPS)


def main() -> None:
    found = asyncio.run(measure())
    medians = {tree: steps.median for tree, steps in found.items()}
    start = nominal(LINK)
    rows = crossed(medians, start, PARAMETERS)
    print(f"{PARAMETERS:,} parameters, MinIO, {LINK}; medians of {ROUNDS} × {STEPS} steps\n")
    print(f"  {'structure':<22} {'measured':>9} {'predicted':>10} {'error':>7} {'spread':>13} {'load':>5}")
    for row in rows:
        steps = found[row.tree]
        spread = f"{min(steps.seconds):.2f} … {max(steps.seconds):.2f}"
        print(
            f"  {row.tree!s:<22} {row.measured:>7.3f} s {row.predicted:>8.3f} s {row.error:>+7.1%} {spread:>13} "
            f"{statistics.median(steps.loads):>5.1f}"
        )
    print(f"\npredicted from the other half of the structures: {summary(rows)}")
    for workers in (16, 64):
        some = [row for row in rows if row.tree.structure[-1] == workers]
        print(f"  n = {workers}: {summary(some)}")
    plain = [Row(tree, median, seconds(start, tree, PARAMETERS)) for tree, median in medians.items()]
    print(f"from the link's settings, nothing fitted: {summary(plain)}")
    everything = fit(medians, start, PARAMETERS)
    shown = ", ".join(
        f"{name} {1000 * getattr(everything, name):.3g} ms"
        for name in ("request", "fetch", "call", "child", "dispatch")
    )
    print(f"fitted to all: {shown}; cold starts {sum(each.cold for each in found.values())}")
    series = {
        f"n = {workers}": [(row.measured, row.predicted) for row in rows if row.tree.structure[-1] == workers]
        for workers in (16, 64)
    }
    figure.save("steptime", figure.draw_predicted(series, digits=1))


if __name__ == "__main__":
    main()
