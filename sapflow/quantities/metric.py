"""Names, directions and formats of metrics. This needs neither numpy nor torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sapflow.text import percent


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a version on the held-out samples."""

    name: str
    """The name in specs, records and replies."""
    label: str
    """The name for people."""
    better: Literal["Higher", "Lower"]
    least: float = -math.inf
    most: float = math.inf
    """The largest possible value."""

    @property
    def share(self) -> bool:
        """Whether values are between 0 and 1 and shown in percent."""
        return (self.least, self.most) == (0, 1)

    @property
    def bounds(self) -> str:
        """The range of values as text."""
        if math.isinf(self.least) and math.isinf(self.most):
            return "any number"
        if math.isinf(self.least):
            return f"at most {self.most:g}"
        return (
            f"at least {self.least:g}" if math.isinf(self.most) else f"from {self.least:g} to {self.most:g}"
        )

    def improves(self, value: float, best: float | None, by: float = 0.0) -> bool:
        """Whether `value` is better than `best` by more than `by`. Any number is better than None.

        A value that is not finite is never better.
        """
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        return value > best + by if self.better == "Higher" else value < best - by

    def meets(self, value: float, wanted: float) -> bool:
        """Whether `value` is as good as `wanted` or better. A value that is not finite never is."""
        if not math.isfinite(value):
            return False
        return value >= wanted if self.better == "Higher" else value <= wanted

    def text(self, value: float) -> str:
        """The value as text, such as 97.20 % or 0.0431."""
        if self.share:
            return percent(value)
        return f"{value:.4f}" if abs(value) < 1e6 else f"{value:.6g}"


METRICS: dict[str, Metric] = {
    each.name: each
    for each in (
        Metric("accuracy", "accuracy", "Higher", 0, 1),
        Metric("exactMatch", "exact match", "Higher", 0, 1),
        Metric("macroF1", "macro F1", "Higher", 0, 1),
        Metric("auc", "AUC", "Higher", 0, 1),
        Metric("r2", "R²", "Higher", most=1),
        Metric("mae", "MAE", "Lower", 0),
        Metric("rmse", "RMSE", "Lower", 0),
        Metric("loss", "loss", "Lower"),
    )
}
"""All metrics in the order in which they are shown."""


def metric(name: str) -> Metric:
    """The metric of that name. An unknown one, of a later release, is treated as a plain number."""
    return METRICS.get(name) or Metric(name, name, "Higher")


def in_words(values: Mapping[str, float]) -> str:
    """Metrics as a line, such as: accuracy 97.20 %, macro F1 97.11 %, loss 0.0912."""
    return ", ".join(f"{metric(name).label} {metric(name).text(values[name])}" for name in in_order(values))


def in_order(values: Mapping[str, float]) -> list[str]:
    """The names in the order in which they are shown; unknown ones come last."""
    order = {name: place for place, name in enumerate(METRICS)}
    return sorted(values, key=lambda name: (order.get(name, len(order)), name))
