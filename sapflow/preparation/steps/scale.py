"""Scale: numbers less an offset, divided, by what the training rows have; as scikit-learn's scalers do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, Fit, Fitted, Schema, Step, StepProblem
from sapflow.preparation.steps import column_moments as moments
from sapflow.preparation.steps.changed_numbers import ChangedNumbers
from sapflow.preparation.steps.column_moments import Moments
from sapflow.preparation.steps.columns import one, resolve
from sapflow.preparation.steps.group_robust import GroupRobustFit
from sapflow.preparation.steps.group_scale import GroupedFit
from sapflow.preparation.steps.moments_fit import MomentsFit
from sapflow.preparation.steps.order_fit import OrderFit
from sapflow.preparation.steps.present import numbers_of
from sapflow.preparation.steps.quantiles import Ordered, robust_ranks, robust_scale
from sapflow.preparation.steps.scales import Method, Scales, divisors, scales_of
from sapflow.spec.preparation.number_steps import ScaleSpec


@dataclass(frozen=True, slots=True)
class ScaleStep(Step):
    """Brings numbers to one scale."""

    spec: ScaleSpec
    target: str

    def begin(self, given: Schema) -> Fit | Fitted:
        asked = self.spec
        columns = resolve(asked.columns, given, ("Number",), spared=self.target)
        if asked.by is not None:
            by = one(asked.by, given, ("Text", "Number"), field="by")
            if by in columns:
                raise StepProblem(f"column {by} cannot be scaled by itself: leave it out of columns", "by")
            if asked.method == "Robust":
                return GroupRobustFit(columns, by)
            return GroupedFit(columns, by, asked.method)
        if asked.method == "Robust":
            return RobustFit(columns)
        return ScaleFit(columns, asked.method)


@dataclass(frozen=True, slots=True)
class ScaleFit(MomentsFit):
    """Learns means and deviations, or ranges."""

    name: ClassVar[str] = "scale"
    method: Method

    def schema(self, given: Schema) -> Schema:
        return given

    def fitted(self, found: Moments) -> Fitted:
        scales = scales_of(found, self.method)
        moments.refuse_infinite(self.columns, scales.offsets, scales.divisors)
        return Scaled(self.columns, scales)

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "method": self.method})

    @classmethod
    def of_record(cls, record: Record) -> "ScaleFit":
        return cls(tuple(record.notes["columns"]), record.notes["method"])


@dataclass(frozen=True, slots=True)
class RobustFit(OrderFit):
    """Learns medians and quartiles."""

    name: ClassVar[str] = "scale"

    def schema(self, given: Schema) -> Schema:
        return given

    def ranks(self, count: int) -> np.ndarray:
        return robust_ranks(count)

    def fitted(self, found: Sequence[Ordered]) -> Fitted:
        medians, distances = np.array([robust_scale(each) for each in found]).T
        return Scaled(self.columns, Scales(medians, divisors(distances)))


@dataclass(frozen=True, slots=True)
class Scaled(ChangedNumbers):
    """(x - offset) / divisor of each column; NaN stays."""

    name: ClassVar[str] = "scale"
    scales: Scales
    """Arrays [columns]."""

    def apply(self, batch: Batch) -> Applied:
        places = {name: place for place, name in enumerate(self.columns)}
        numbers = numbers_of(batch, self.columns)
        return Applied(
            batch.changed({name: self.scales.applied(each, places[name]) for name, each in numbers.items()})
        )

    def record(self) -> Record:
        return Record({"columns": list(self.columns)}, self.scales.arrays())

    @classmethod
    def of_record(cls, record: Record) -> "Scaled":
        return cls(tuple(record.notes["columns"]), Scales.of_arrays(record.arrays))
