"""A figure that is not known, as its draws have it. Pure."""

from collections.abc import Sequence

from sapflow.messages.message import Message

LOW, MIDDLE, HIGH = 0.1, 0.5, 0.9


class Spread(Message):
    """A figure that is not known: a tenth of the draws are below `p10`, half of them below `p50`, nine in ten below
    `p90`."""

    p10: float
    p50: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        ordered = sorted(values)
        return cls(**{
            f"p{round(100 * share)}": _quantile(ordered, share) for share in (LOW, MIDDLE, HIGH)
        })  # fmt: skip

    def times(self, factor: float) -> "Spread":
        return Spread(p10=factor * self.p10, p50=factor * self.p50, p90=factor * self.p90)

    def at(self, share: float) -> float:
        """The figure that this share of the draws stay below, between and beyond the three that are known evenly, and
        never below 0."""
        low, high = (self.p10, self.p50) if share < MIDDLE else (self.p50, self.p90)
        start, end = (LOW, MIDDLE) if share < MIDDLE else (MIDDLE, HIGH)
        return max(0.0, low + (share - start) / (end - start) * (high - low))

    def holds(self, value: float) -> bool:
        """Whether a value is neither among the lowest nor among the highest tenth."""
        return self.p10 <= value <= self.p90


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between the values of an ascending sequence, evenly."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
