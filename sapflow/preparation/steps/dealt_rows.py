"""Fitted steps that deal rows to training and validation."""

from collections.abc import Sequence

from sapflow.preparation.step import Fitted, Schema


class DealtRows(Fitted):
    """A step that says of each row whether it is held out, and changes nothing else."""

    __slots__ = ()

    def writes(self) -> Sequence[str]:
        return ()

    def schema(self, given: Schema) -> Schema:
        return given
