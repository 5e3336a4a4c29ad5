"""One line of the table: a figure, what it is measured against, and its goal."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """`figure` is to be at most `goal`, both in `unit` ("×": a ratio of ours to the reference)."""

    what: str
    ours: str
    reference: str
    figure: float
    goal: float
    unit: str = "×"

    @property
    def reached(self) -> bool:
        return self.figure <= self.goal

    @property
    def cells(self) -> tuple[str, ...]:
        """The texts of the table's columns."""
        return (
            self.what,
            self.ours,
            self.reference,
            f"{_short(self.figure)} {self.unit}",
            f"≤ {self.goal:g} {self.unit}",
            "yes" if self.reached else f"no, by {_short(100 * (self.figure / self.goal - 1))} %",
        )


COLUMNS = ("what", "ours", "reference", "figure", "to reach", "reached")


def milliseconds(seconds: float) -> str:
    return f"{_short(1000 * seconds)} ms"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
