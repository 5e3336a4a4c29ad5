"""`python -m bench.paper.table3`: the cost model fitted to the paper's Table III, R² and the error of each row.

    t = t_fixed + t_m · (n/m_1 + … + m_k) + t_level · k

over a whole run: 50 iterations of case A, 20 of case B, 100 workers each. The middle term is eq. 1, to the letter;
the outer ones are what the table needs beside it. Draws docs/figures/table3.svg.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.paper import figure
from sapflow.planning import closed_form
from sapflow.planning.least_squares import non_negative, r_squared
from sapflow.quantities.structure import Structure

ITERATIONS = {"A": 50, "B": 20}
SECONDS: dict[Structure, dict[str, float]] = {
    (1, 5, 22, 100): {"A": 569.55, "B": 789.20},
    (1, 100): {"A": 1216.97, "B": 1848.05},
    (1, 2, 100): {"A": 878.78, "B": 1195.97},
    (1, 5, 100): {"A": 650.66, "B": 866.29},
    (1, 25, 100): {"A": 616.67, "B": 920.22},
    (1, 2, 10, 100): {"A": 570.66, "B": 823.25},
    (1, 5, 50, 100): {"A": 604.90, "B": 890.91},
    (1, 10, 50, 100): {"A": 534.28, "B": 838.89},
    (1, 2, 10, 50, 100): {"A": 585.25, "B": 883.96},
    (1, 5, 20, 50, 100): {"A": 578.22, "B": 868.78},
}
"""Table III: seconds of a run by structure, root first, and case. The first row is the paper's own choice."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The cost model on one case. Seconds of one iteration; `predicted` are those of a run, in the table's order."""

    fixed: float
    merge: float
    level: float
    predicted: tuple[float, ...]
    r_squared: float


def fit(case: str, *, levels: bool = True) -> Fit:
    """Least squares with no constant below zero; without `levels` the cost model is eq. 1 and a constant alone."""
    trees, measured = list(SECONDS), [row[case] for row in SECONDS.values()]
    rows = [_terms(tree) if levels else [*_terms(tree)[:2], 0.0] for tree in trees]
    found = non_negative(rows, measured)
    predicted = tuple(float(found @ row) for row in rows)
    fixed, merge, level = (float(value) / ITERATIONS[case] for value in found)
    return Fit(fixed, merge, level, predicted, r_squared(measured, predicted))


def _terms(tree: Structure) -> Sequence[float]:
    return [1.0, closed_form.latency(tree), float(len(tree) - 2)]


def drawing() -> str:
    """Predicted against the paper's seconds of a run, both cases."""
    series = {
        f"case {case}": [
            (row[case], predicted)
            for row, predicted in zip(SECONDS.values(), fit(case).predicted, strict=True)
        ]
        for case in ITERATIONS
    }
    return figure.draw_predicted(series, digits=0)


def main() -> None:
    for case in ITERATIONS:
        full, plain = fit(case), fit(case, levels=False)
        print(
            f"case {case}: R² {full.r_squared:.4f} ({plain.r_squared:.4f} without a term per level); an iteration is"
        )
        print(f"  {full.fixed:.2f} s + {full.merge * 1000:.0f} ms × Σ fan-ins + {full.level:.2f} s × k\n")
        print(f"  {'structure':<22} {'measured':>9} {'fitted':>9} {'error':>7}")
        for (tree, row), predicted in zip(SECONDS.items(), full.predicted, strict=True):
            error = predicted / row[case] - 1
            print(f"  {list(tree)!s:<22} {row[case]:>9.2f} {predicted:>9.2f} {error:>+7.1%}")
        print()
    figure.save("table3", drawing())


if __name__ == "__main__":
    main()
