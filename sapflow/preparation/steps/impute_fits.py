"""What an imputation learns of the training rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from sapflow.preparation.batch import Batch
from sapflow.preparation.record import Record, joined, parts
from sapflow.preparation.step import Fit, Fitted, Schema
from sapflow.preparation.steps import categories
from sapflow.preparation.steps import column_moments as moments
from sapflow.preparation.steps.categories import Counts
from sapflow.preparation.steps.column_moments import Moments
from sapflow.preparation.steps.imputed import Imputed, with_indicators, with_their_indicators
from sapflow.preparation.steps.moments_fit import MomentsFit
from sapflow.preparation.steps.order_fit import OrderFit
from sapflow.preparation.steps.quantiles import Ordered, median, median_ranks

_TOO_MANY = "impute Mean or Median, or a Constant"


@dataclass(frozen=True, slots=True)
class MeanFit(MomentsFit):
    """Learns means in one pass."""

    name: ClassVar[str] = "impute"
    indicator: bool

    def writes(self) -> Sequence[str]:
        return with_their_indicators(self.columns, self.indicator)

    def schema(self, given: Schema) -> Schema:
        return with_indicators(given, self.columns, self.indicator)

    def fitted(self, found: Moments) -> Fitted:
        moments.refuse_infinite(self.columns, found.means)
        return Imputed(dict(zip(self.columns, found.means.tolist(), strict=True)), self.indicator)

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "indicator": self.indicator})

    @classmethod
    def of_record(cls, record: Record) -> "MeanFit":
        return cls(tuple(record.notes["columns"]), record.notes["indicator"])


@dataclass(frozen=True, slots=True)
class MostFrequentFit(Fit):
    """Learns the most frequent values in one pass; of several the smallest number, or the first by code points."""

    name: ClassVar[str] = "impute"
    columns: tuple[str, ...]
    indicator: bool

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return with_their_indicators(self.columns, self.indicator)

    def schema(self, given: Schema) -> Schema:
        return with_indicators(given, self.columns, self.indicator)

    def collect(self, batch: Batch, before: Record | None) -> Record:
        found = _joined([categories.counts_of(batch.columns[name]) for name in self.columns])
        return found if before is None else self.merge([before, found])

    def merge(self, records: Sequence[Record]) -> Record:
        several = zip(*map(_counts, records), strict=True)
        return _joined([categories.merged(each) for each in several])

    def next(self, total: Record | None) -> Fitted:
        counted = dict(zip(self.columns, _counts(moments.given_rows(total)), strict=True))
        for name, each in counted.items():
            each.within(name, _TOO_MANY)
        moments.refuse_empty(self.columns, np.array([each.rows.sum() for each in counted.values()]))
        return Imputed({name: _most_frequent(each) for name, each in counted.items()}, self.indicator)

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "indicator": self.indicator})

    @classmethod
    def of_record(cls, record: Record) -> "MostFrequentFit":
        return cls(tuple(record.notes["columns"]), record.notes["indicator"])


def _joined(several: Sequence[Counts]) -> Record:
    return joined({str(place): each.record() for place, each in enumerate(several)})


def _counts(record: Record) -> list[Counts]:
    known = parts(record)
    return [Counts.of_record(known[str(place)]) for place in range(len(known))]


def _most_frequent(counted: Counts) -> float | str:
    first = int(counted.rows.argmax())
    found = counted.values[first]
    return found if isinstance(found, str) else float(found)


@dataclass(frozen=True, slots=True)
class MedianFit(OrderFit):
    """Learns medians: between two middle values their mean."""

    name: ClassVar[str] = "impute"
    indicator: bool = False

    def writes(self) -> Sequence[str]:
        return with_their_indicators(self.columns, self.indicator)

    def schema(self, given: Schema) -> Schema:
        return with_indicators(given, self.columns, self.indicator)

    def settings(self) -> dict[str, Any]:
        return {"indicator": self.indicator}

    def ranks(self, count: int) -> np.ndarray:
        return median_ranks(count)

    def fitted(self, found: Sequence[Ordered]) -> Fitted:
        medians = {name: median(each) for name, each in zip(self.columns, found, strict=True)}
        return Imputed(medians, self.indicator)
