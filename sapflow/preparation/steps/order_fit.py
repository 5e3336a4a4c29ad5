"""A step that learns order statistics of columns, all of them in the same passes."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from sapflow.preparation.batch import Batch
from sapflow.preparation.record import Record, joined, parts
from sapflow.preparation.step import Fit, Fitted, StepProblem
from sapflow.preparation.steps import column_moments as moments
from sapflow.preparation.steps.order_statistics import Cells, Search, keys_of, values_of
from sapflow.preparation.steps.quantiles import Ordered


@dataclass(frozen=True, slots=True)
class OrderFit(Fit):
    """A step over columns of numbers that needs the values of some ranks. A subclass says which, and what follows."""

    columns: tuple[str, ...]
    counts: tuple[int, ...] = ()
    """Of each column's values in the training rows; known after the first pass."""
    searches: tuple[Search, ...] = ()

    @abstractmethod
    def ranks(self, count: int) -> np.ndarray:
        """int64, increasing: the ranks that are needed of a column of `count` values."""

    @abstractmethod
    def fitted(self, found: Sequence[Ordered]) -> Fitted:
        """What follows from the values of those ranks, of each column. Raises StepProblem."""

    def settings(self) -> dict[str, Any]:
        """What the subclass's own fields are, as JSON."""
        return {}

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    @property
    def _current(self) -> tuple[Search, ...]:
        return self.searches or (Search.start(),) * len(self.columns)

    def collect(self, batch: Batch, before: Record | None) -> Record:
        known = parts(before) if before is not None else {}
        found = {}
        for place, (name, search) in enumerate(zip(self.columns, self._current, strict=True)):
            if not search.done:
                values = np.asarray(batch.columns[name])
                earlier = Cells.of_record(known[str(place)]) if known else None
                cells = search.count(keys_of(values[~np.isnan(values)]), earlier)
                found[str(place)] = cells.record()
        return joined(found)

    def merge(self, records: Sequence[Record]) -> Record:
        several = [parts(record) for record in records]
        return joined(
            {
                place: self._current[int(place)]
                .merge([Cells.of_record(each[place]) for each in several])
                .record()
                for place in several[0]
            }
        )

    def next(self, total: Record | None) -> Fit | Fitted:
        counted = {
            int(place): Cells.of_record(each) for place, each in parts(moments.given_rows(total)).items()
        }
        counts = self.counts
        if not self.searches:
            counts = tuple(int(counted[place].rows.sum()) for place in range(len(self.columns)))
            moments.refuse_empty(self.columns, np.array(counts))
        searches = []
        for place, search in enumerate(self._current):
            if search.done:
                searches.append(search)
            else:
                ranks = None if search.begun else self.ranks(counts[place])
                searches.append(search.narrowed(counted[place], ranks))
        if not all(each.done for each in searches):
            return replace(self, counts=counts, searches=tuple(searches))
        found = [
            Ordered(count, each.ranks, values_of(each.begins))
            for count, each in zip(counts, searches, strict=True)
        ]
        for name, each in zip(self.columns, found, strict=True):
            if not np.isfinite(each.values).all():
                raise StepProblem(
                    f"column {name} has infinite values where a quantile is: clip it before", "columns"
                )
        return self.fitted(found)

    def record(self) -> Record:
        notes = {"columns": list(self.columns), "counts": list(self.counts), "settings": self.settings()}
        searches = joined({str(place): each.record() for place, each in enumerate(self.searches)})
        return Record(notes | {"searches": searches.notes}, searches.arrays)

    @classmethod
    def of_record(cls, record: Record) -> Self:
        notes = record.notes
        known = parts(Record(notes["searches"], record.arrays))
        searches = tuple(Search.of_record(known[str(place)]) for place in range(len(known)))
        return cls(tuple(notes["columns"]), tuple(notes["counts"]), searches, **notes["settings"])
