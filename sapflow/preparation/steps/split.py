"""Which rows are held out for validation: by a fraction of rows, of each class, of groups, or by a column's values.

A row's side follows from its own place and values and from what is known of all rows, so it is the same in every batch
and function. The split is the first step of a preparation: it reads columns as the source has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from sapflow.data.group_split import digests, held_groups
from sapflow.preparation.batch import Batch
from sapflow.preparation.numerals import as_text, numeral
from sapflow.preparation.record import Record
from sapflow.preparation.row_numbers import bound, drawn
from sapflow.preparation.step import Applied, Fit, Fitted, Schema, Step, StepProblem
from sapflow.preparation.steps.columns import one
from sapflow.preparation.steps.dealt_rows import DealtRows
from sapflow.preparation.steps.stratified_split import StratifiedFit
from sapflow.spec.preparation.prepare import DEFAULT_FRACTION, SplitSpec


@dataclass(frozen=True, slots=True)
class SplitStep(Step):
    """Deals rows to training and validation. Without a spec a fifth of the rows is held out."""

    spec: SplitSpec | None
    target: str
    seed: int

    def begin(self, given: Schema) -> Fit | Fitted:
        asked = self.spec or SplitSpec()
        if asked.values is not None:
            column = one(asked.column or "", given, ("Text",))
            return ValueSplit(column, tuple(asked.values))
        if asked.numbers is not None:
            column = one(asked.column or "", given, ("Number",))
            return ValueSplit(column, tuple(numeral(number + 0.0) for number in asked.numbers))
        fraction = DEFAULT_FRACTION if asked.fraction is None else asked.fraction
        if asked.by == "Group":
            return GroupSplit(one(asked.column or "", given, ("Text", "Number")), fraction, self.seed)
        if asked.by == "Stratified":
            if asked.column is None and self.target not in given:
                raise StepProblem(
                    f"the source has no column {self.target}, which is the target after the steps only: name the "
                    "source's column of classes",
                    "column",
                )
            column = one(asked.column or self.target, given, ("Text", "Number"))
            return StratifiedFit(column, fraction, self.seed)
        return RowSplit(fraction, self.seed)


@dataclass(frozen=True, slots=True)
class RowSplit(DealtRows):
    """Holds out rows, each by itself: about a fraction of them."""

    name: ClassVar[str] = "split"
    fraction: float
    seed: int

    def reads(self) -> Sequence[str]:
        return ()

    def apply(self, batch: Batch) -> Applied:
        return Applied(replace(batch, held=drawn(batch, self.seed) < bound(self.fraction)))

    def record(self) -> Record:
        return Record({"fraction": self.fraction, "seed": self.seed})

    @classmethod
    def of_record(cls, record: Record) -> "RowSplit":
        return cls(record.notes["fraction"], record.notes["seed"])


@dataclass(frozen=True, slots=True)
class GroupSplit(DealtRows):
    """Holds out about a fraction of groups, with all their rows. Rows without a group are one."""

    name: ClassVar[str] = "split"
    column: str
    fraction: float
    seed: int

    def reads(self) -> Sequence[str]:
        return (self.column,)

    def apply(self, batch: Batch) -> Applied:
        text = as_text(batch.columns[self.column])
        # The last one is of the rows without a value, which have the code -1.
        sides = held_groups(digests([*text.words, ""]), self.fraction, self.seed)
        return Applied(replace(batch, held=sides[text.codes]))

    def record(self) -> Record:
        return Record({"column": self.column, "fraction": self.fraction, "seed": self.seed})

    @classmethod
    def of_record(cls, record: Record) -> "GroupSplit":
        return cls(record.notes["column"], record.notes["fraction"], record.notes["seed"])


@dataclass(frozen=True, slots=True)
class ValueSplit(DealtRows):
    """Holds out the rows that have one of some values in a column; numbers are given as numerals."""

    name: ClassVar[str] = "split"
    column: str
    values: tuple[str, ...]

    def reads(self) -> Sequence[str]:
        return (self.column,)

    def apply(self, batch: Batch) -> Applied:
        text = as_text(batch.columns[self.column])
        sides = np.array([*(word in self.values for word in text.words), False])
        return Applied(replace(batch, held=sides[text.codes]))

    def record(self) -> Record:
        return Record({"column": self.column, "values": list(self.values)})

    @classmethod
    def of_record(cls, record: Record) -> "ValueSplit":
        return cls(record.notes["column"], tuple(record.notes["values"]))
