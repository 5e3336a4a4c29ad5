"""A step that learns means, deviations or ranges of columns, all of them in one pass."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.preparation.batch import Batch
from sapflow.preparation.record import Record
from sapflow.preparation.step import Fit, Fitted
from sapflow.preparation.steps import column_moments as moments
from sapflow.preparation.steps.column_moments import Moments


@dataclass(frozen=True, slots=True)
class MomentsFit(Fit):
    """A step over columns of numbers that needs their moments. A subclass says what follows from them."""

    columns: tuple[str, ...]

    @abstractmethod
    def fitted(self, found: Moments) -> Fitted:
        """What follows from the moments of the columns; each has numbers. Raises StepProblem."""

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    def collect(self, batch: Batch, before: Record | None) -> Record:
        found = moments.moments_of([np.asarray(batch.columns[name]) for name in self.columns])
        return (found if before is None else moments.merged([Moments.of_record(before), found])).record()

    def merge(self, records: Sequence[Record]) -> Record:
        return moments.merged(list(map(Moments.of_record, records))).record()

    def next(self, total: Record | None) -> Fitted:
        found = Moments.of_record(moments.given_rows(total))
        moments.refuse_empty(self.columns, found.counts)
        return self.fitted(found)
