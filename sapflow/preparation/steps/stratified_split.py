"""Holds out the same part of each class, exactly.

Each row has a random number of its own; of a class with n rows, those with the k least numbers are held out. The number
from which on rows stay is an order statistic, which is sought as medians are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch
from sapflow.preparation.numerals import as_text
from sapflow.preparation.record import Record, joined, parts, words_of, words_to_arrays
from sapflow.preparation.row_numbers import bound, drawn
from sapflow.preparation.step import Applied, Fit, Fitted, Schema, StepProblem
from sapflow.preparation.steps import column_moments as moments
from sapflow.preparation.steps.dealt_rows import DealtRows
from sapflow.preparation.steps.order_statistics import Cells, Search

MAX_CLASSES = 1000
_BITS = 10
"""Each class is counted in about 2^10 cells, so all of them are in some MiB."""
_CLASSES = "classes"


@dataclass(frozen=True, slots=True)
class _Counted:
    """The cells of each class; of too many classes, none."""

    cells: Mapping[str, Cells]
    too_many: bool = False

    def record(self) -> Record:
        names = sorted(self.cells)
        head = Record({"too_many": self.too_many}, words_to_arrays(_CLASSES, names))
        return joined(
            {_CLASSES: head, **{str(place): self.cells[name].record() for place, name in enumerate(names)}}
        )

    @classmethod
    def of_record(cls, record: Record) -> "_Counted":
        known = parts(record)
        names = words_of(_CLASSES, known[_CLASSES].arrays)
        cells = {name: Cells.of_record(known[str(place)]) for place, name in enumerate(names)}
        return cls(cells, known[_CLASSES].notes["too_many"])


@dataclass(frozen=True, slots=True)
class StratifiedFit(Fit):
    """Seeks each class's bound. `searches` is empty before the first pass, which finds the classes."""

    name: ClassVar[str] = "split"
    column: str
    fraction: float
    seed: int
    classes: tuple[str, ...] = ()
    searches: tuple[Search, ...] = ()

    def reads(self) -> Sequence[str]:
        return (self.column,)

    def writes(self) -> Sequence[str]:
        return ()

    def schema(self, given: Schema) -> Schema:
        return given

    def collect(self, batch: Batch, before: Record | None) -> Record:
        text, keys = as_text(batch.columns[self.column]), drawn(batch, self.seed)
        searches = dict(zip(self.classes, self.searches, strict=True))
        order = np.argsort(text.codes, kind="stable")
        codes = text.codes[order]
        ends = np.searchsorted(codes, np.arange(len(text.words) + 1))
        cells = {}
        for code, word in enumerate(text.words):
            rows = order[ends[code] : ends[code + 1]]
            search = searches.get(word, _START)
            if len(rows) and not search.done:
                cells[word] = search.count(keys[rows], None)
        found = _bounded(cells).record()
        return found if before is None else self.merge([before, found])

    def merge(self, records: Sequence[Record]) -> Record:
        several = list(map(_Counted.of_record, records))
        if any(each.too_many for each in several):
            return _Counted({}, too_many=True).record()
        searches = dict(zip(self.classes, self.searches, strict=True))
        names = sorted({name for each in several for name in each.cells})
        return _bounded(
            {
                name: searches.get(name, _START).merge(
                    [each.cells[name] for each in several if name in each.cells]
                )
                for name in names
            }
        ).record()

    def next(self, total: Record | None) -> Fit | Fitted:
        counted = _Counted.of_record(moments.given_rows(total))
        if counted.too_many:
            raise StepProblem(
                f"column {self.column} has more than {MAX_CLASSES:,} different values, which are no classes: take by: "
                "Row, or another column",
                "column",
            )
        if not self.searches:
            classes = tuple(counted.cells)
            searches = tuple(
                _START.narrowed(cells, self._ranks(int(cells.rows.sum()))) for cells in counted.cells.values()
            )
        else:
            classes = self.classes
            searches = tuple(
                search if search.done else search.narrowed(counted.cells[name])
                for name, search in zip(self.classes, self.searches, strict=True)
            )
        if not all(each.done for each in searches):
            return replace(self, classes=classes, searches=searches)
        bounds = np.array([each.begins[0] for each in searches], np.uint64)
        return StratifiedSplit(self.column, self.fraction, self.seed, classes, bounds)

    def _ranks(self, count: int) -> np.ndarray:
        """The rank of the first row that stays: the nearest to the fraction, and a class never loses its last row."""
        return np.array([min(int(self.fraction * count + 0.5), count - 1)], np.int64)

    def record(self) -> Record:
        head = Record(
            {"column": self.column, "fraction": self.fraction, "seed": self.seed},
            words_to_arrays(_CLASSES, self.classes),
        )
        return joined(
            {_CLASSES: head, **{str(place): each.record() for place, each in enumerate(self.searches)}}
        )

    @classmethod
    def of_record(cls, record: Record) -> "StratifiedFit":
        known = parts(record)
        notes, classes = known[_CLASSES].notes, words_of(_CLASSES, known[_CLASSES].arrays)
        searches = tuple(Search.of_record(known[str(place)]) for place in range(len(classes)))
        return cls(notes["column"], notes["fraction"], notes["seed"], classes, searches)


@dataclass(frozen=True, slots=True)
class StratifiedSplit(DealtRows):
    """Holds out the rows whose numbers are below their class's bound. Rows without a class are dealt by themselves."""

    name: ClassVar[str] = "split"
    column: str
    fraction: float
    seed: int
    classes: tuple[str, ...]
    bounds: np.ndarray
    """uint64 [classes]"""

    def reads(self) -> Sequence[str]:
        return (self.column,)

    def apply(self, batch: Batch) -> Applied:
        text = as_text(batch.columns[self.column])
        known = dict(zip(self.classes, self.bounds.tolist(), strict=True))
        otherwise = int(bound(self.fraction))
        bounds = np.array([*(known.get(word, otherwise) for word in text.words), otherwise], np.uint64)
        return Applied(replace(batch, held=drawn(batch, self.seed) < bounds[text.codes]))

    def record(self) -> Record:
        notes = {"column": self.column, "fraction": self.fraction, "seed": self.seed}
        return Record(notes, {"bounds": self.bounds} | words_to_arrays(_CLASSES, self.classes))

    @classmethod
    def of_record(cls, record: Record) -> "StratifiedSplit":
        notes, arrays = record.notes, record.arrays
        classes = words_of(_CLASSES, arrays)
        return cls(notes["column"], notes["fraction"], notes["seed"], classes, arrays["bounds"])


_START = Search.start(_BITS)


def _bounded(cells: Mapping[str, Cells]) -> _Counted:
    return _Counted(cells) if len(cells) <= MAX_CLASSES else _Counted({}, too_many=True)
