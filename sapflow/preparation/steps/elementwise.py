"""Clip and log1p: steps that change each number by itself."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from sapflow.preparation.batch import Batch
from sapflow.preparation.record import Record
from sapflow.preparation.step import Applied, Fitted, Schema, Step
from sapflow.preparation.steps.changed_numbers import ChangedNumbers
from sapflow.preparation.steps.columns import resolve
from sapflow.preparation.steps.present import numbers_of
from sapflow.preparation.steps.refusal import Refused, without
from sapflow.spec.preparation.number_steps import ClipSpec, Log1pSpec


@dataclass(frozen=True, slots=True)
class ClipStep(Step):
    """Replaces numbers beyond a bound by the bound."""

    spec: ClipSpec
    target: str

    def begin(self, given: Schema) -> Fitted:
        columns = resolve(self.spec.columns, given, ("Number",), spared=self.target)
        return Clipped(columns, self.spec.min, self.spec.max)


@dataclass(frozen=True, slots=True)
class Clipped(ChangedNumbers):
    """Numbers within bounds; NaN stays."""

    name: ClassVar[str] = "clip"
    least: float | None
    largest: float | None

    def apply(self, batch: Batch) -> Applied:
        numbers = numbers_of(batch, self.columns)
        return Applied(batch.changed({name: self._within(each) for name, each in numbers.items()}))

    def _within(self, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(np.clip(numbers, self.least, self.largest))

    def record(self) -> Record:
        return Record({"columns": list(self.columns), "least": self.least, "largest": self.largest})

    @classmethod
    def of_record(cls, record: Record) -> "Clipped":
        notes = record.notes
        return cls(tuple(notes["columns"]), notes["least"], notes["largest"])


@dataclass(frozen=True, slots=True)
class Log1pStep(Step):
    """Replaces numbers x by log(1 + x)."""

    spec: Log1pSpec
    target: str

    def begin(self, given: Schema) -> Fitted:
        return Log1p(resolve(self.spec.columns, given, ("Number",), spared=self.target))


@dataclass(frozen=True, slots=True)
class Log1p(ChangedNumbers):
    """log(1 + x) of numbers above -1; NaN stays. Equal bits are promised on one kind of CPU only."""

    name: ClassVar[str] = "log1p"

    @property
    def drops_rows(self) -> bool:
        return True

    def apply(self, batch: Batch) -> Applied:
        numbers = numbers_of(batch, self.columns)
        refused = [
            Refused(name, "log1p needs a number above -1", each <= -1) for name, each in numbers.items()
        ]
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithms = {name: np.log1p(each) for name, each in numbers.items()}
        return without(batch, batch.changed(logarithms), refused)

    def record(self) -> Record:
        return Record({"columns": list(self.columns)})

    @classmethod
    def of_record(cls, record: Record) -> "Log1p":
        return cls(tuple(record.notes["columns"]))
