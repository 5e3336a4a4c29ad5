"""`spec.data.prepare`: how raw data becomes the samples of a training."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from sapflow.spec.preparation.columns import ColumnKind, ColumnName
from sapflow.spec.preparation.step import StepSpec
from sapflow.spec.types import Model

DEFAULT_FRACTION = 0.2
DEFAULT_MISSING = ("", "NA")


class SplitSpec(Model):
    """Which rows are held out for evaluation: a fraction of them, or those with certain values in a column. Nothing is
    learnt of them."""

    fraction: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="The part that is held out; 0.2 if this, values and numbers are left out."
    )
    by: Literal["Row", "Stratified", "Group"] | None = Field(
        None,
        description="Row, or left out: each row by itself. Stratified: that part of each class in column, exactly. "
        "Group: rows with the same value in column stay together.",
    )
    column: ColumnName | None = Field(
        None,
        description="The column of classes, of groups, or of values, as the source names it. Stratified: the target, "
        "if left out.",
    )
    values: (
        Annotated[
            list[Annotated[str, StringConstraints(max_length=1024)]], Field(min_length=1, max_length=1024)
        ]
        | None
    ) = Field(None, description="Rows with one of these in a column of text are held out.")
    numbers: Annotated[list[float], Field(min_length=1, max_length=1024)] | None = Field(
        None, description="Rows with one of these in a column of numbers are held out."
    )


class PrepareSpec(Model):
    """How raw data is made into samples, by functions: types of columns, missing values, a split, and steps in their
    order. What steps learn, they learn of the training rows. Cannot be changed later, as all of data."""

    columns: Annotated[dict[ColumnName, ColumnKind], Field(min_length=1, max_length=4096)] | None = Field(
        None,
        description="Types of columns: Number, Text, Time or Image. Those left out are found once, by the beginning of "
        "the first file.",
    )
    missing: (
        Annotated[list[Annotated[str, StringConstraints(max_length=64)]], Field(min_length=1, max_length=64)]
        | None
    ) = Field(None, description='Texts that mean that a value is missing; `["", "NA"]` if left out.')
    target: ColumnName = Field(
        description="The column to be learnt, as it is called after the steps. All others that are left are features."
    )
    max_bad_rows: Annotated[int, Field(ge=0, lt=2**53)] | None = Field(
        None,
        description="More rows than this that cannot be read or taken fail the job; 0 if this and maxBadShare are left "
        "out.",
    )
    max_bad_share: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="The same as a part of all rows."
    )
    split: SplitSpec | None = None
    steps: Annotated[list[StepSpec], Field(min_length=1, max_length=64)] | None = Field(
        None, description="What is done, one after the other."
    )

    @property
    def named_files(self) -> tuple[str, ...]:
        """The files that steps name, each once. Samples follow from what is in them."""
        found = (step.tokens.tokenizer for step in self.steps or [] if step.tokens is not None)
        return tuple(dict.fromkeys(name for name in found if name is not None))
