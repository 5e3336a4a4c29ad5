"""Bin: numbers as the numbers of bins, as scikit-learn's KBinsDiscretizer has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sapflow.preparation.batch import Batch
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, Fit, Fitted, Schema, Step, StepProblem
from sapflow.preparation.steps.changed_numbers import ChangedNumbers
from sapflow.preparation.steps.columns import resolve
from sapflow.preparation.steps.order_fit import OrderFit
from sapflow.preparation.steps.present import numbers_of
from sapflow.preparation.steps.quantiles import Ordered, Quantiles
from sapflow.spec.preparation.number_steps import BinSpec

_NARROW = 1e-8
"""Quantiles that are no farther apart than this are one, as in scikit-learn."""


@dataclass(frozen=True, slots=True)
class BinStep(Step):
    """Replaces numbers by the numbers of bins."""

    spec: BinSpec
    target: str

    def begin(self, given: Schema) -> Fit | Fitted:
        columns = resolve(self.spec.columns, given, ("Number",), spared=self.target)
        if self.spec.quantiles is not None:
            return QuantileFit(columns, bins=self.spec.quantiles)
        edges = np.array(self.spec.edges, np.float64)
        if (np.diff(edges) <= 0).any():
            raise StepProblem("must be ascending, each edge once", "edges")
        return Binned(columns, (edges,) * len(columns))


@dataclass(frozen=True, slots=True)
class QuantileFit(OrderFit):
    """Learns the quantiles between bins."""

    name: ClassVar[str] = "bin"
    bins: int = 2

    def settings(self) -> dict[str, Any]:
        return {"bins": self.bins}

    def schema(self, given: Schema) -> Schema:
        return given

    def ranks(self, count: int) -> np.ndarray:
        return self._quantiles(count).ranks

    def fitted(self, found: Sequence[Ordered]) -> Fitted:
        return Binned(self.columns, tuple(map(self._edges, found)))

    def _quantiles(self, count: int) -> Quantiles:
        return Quantiles.averaged(np.linspace(0, 100, self.bins + 1) / 100, count)

    def _edges(self, ordered: Ordered) -> np.ndarray:
        """float64: the inner edges; none of a constant column."""
        if ordered.values[0] == ordered.values[-1]:
            return np.empty(0)
        edges = self._quantiles(ordered.count).values(ordered)
        wide = np.diff(edges, prepend=-np.inf) > _NARROW
        return np.asarray(edges[wide][1:-1])


@dataclass(frozen=True, slots=True)
class Binned(ChangedNumbers):
    """The number of the bin of each number, from 0; NaN stays. A value on an edge is in the bin above."""

    name: ClassVar[str] = "bin"
    edges: tuple[np.ndarray, ...]
    """Of each column, float64, increasing: one fewer than bins."""

    def apply(self, batch: Batch) -> Applied:
        edges = dict(zip(self.columns, self.edges, strict=True))
        numbers = numbers_of(batch, self.columns)
        return Applied(batch.changed({name: _bins(each, edges[name]) for name, each in numbers.items()}))

    def record(self) -> Record:
        arrays = {f"edges.{place}": each for place, each in enumerate(self.edges)}
        return Record({"columns": list(self.columns)}, arrays)

    @classmethod
    def of_record(cls, record: Record) -> "Binned":
        columns = tuple(record.notes["columns"])
        return cls(columns, tuple(record.arrays[f"edges.{place}"] for place in range(len(columns))))


def _bins(numbers: np.ndarray, edges: np.ndarray) -> np.ndarray:
    bins = np.searchsorted(edges, numbers, side="right").astype(np.float64)
    return np.asarray(np.where(np.isnan(numbers), np.nan, bins))
