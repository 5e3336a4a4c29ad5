"""Leaves out rows in which a value is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch, missing
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, Fitted, Schema, Step
from sapflow.preparation.steps.columns import resolve
from sapflow.spec.preparation.table_steps import DropRowsSpec


@dataclass(frozen=True, slots=True)
class DropRowsStep(Step):
    """Leaves out the rows that miss one of some columns."""

    spec: DropRowsSpec

    def begin(self, given: Schema) -> Fitted:
        return DroppedRows(resolve(self.spec.columns, given))


@dataclass(frozen=True, slots=True)
class DroppedRows(Fitted):
    """Rows that have a value in each of the columns. The others are no bad rows."""

    name: ClassVar[str] = "dropRows"
    columns: tuple[str, ...]

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return ()

    @property
    def drops_rows(self) -> bool:
        return True

    def schema(self, given: Schema) -> Schema:
        return given

    def apply(self, batch: Batch) -> Applied:
        kept = np.ones(len(batch), bool)
        for name in self.columns:
            if name in batch.columns:
                nothing = missing(batch.columns[name])
                kept &= ~nothing.reshape(len(batch), -1).any(axis=1) if nothing.ndim > 1 else ~nothing
        return Applied(batch if kept.all() else batch.take(kept))

    def record(self) -> Record:
        return Record({"columns": list(self.columns)})

    @classmethod
    def of_record(cls, record: Record) -> "DroppedRows":
        return cls(tuple(record.notes["columns"]))
