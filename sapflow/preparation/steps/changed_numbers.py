"""Fitted steps that put other numbers in the place of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from sapflow.preparation.step import Fitted, Schema


@dataclass(frozen=True, slots=True)
class ChangedNumbers(Fitted):
    """A step after which there are the same columns, of the same types."""

    columns: tuple[str, ...]

    def reads(self) -> Sequence[str]:
        return self.columns

    def writes(self) -> Sequence[str]:
        return self.columns

    def schema(self, given: Schema) -> Schema:
        return given
