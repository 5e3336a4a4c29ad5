"""Steps that choose columns and rows, and what columns hold."""

from typing import Annotated, Literal

from pydantic import Field

from sapflow.spec.preparation.columns import ColumnName, Columns
from sapflow.spec.types import Model


class SelectSpec(Model):
    """Keeps some columns, in the order in which they are; all others go. The target must be among them."""

    columns: Columns = Field(description="The columns that stay: names or patterns.")


class DropSpec(Model):
    """Removes some columns."""

    columns: Columns = Field(description="The columns that go: names or patterns.")


class RenameSpec(Model):
    """Gives columns other names; they keep their places."""

    names: Annotated[dict[ColumnName, ColumnName], Field(min_length=1, max_length=1024)] = Field(
        description="The new name of each column, by its old one."
    )


class CastSpec(Model):
    """Makes columns another type. A value that cannot be one is a bad row. Times are seconds since 1970 as numbers, and
    ISO 8601 as text."""

    columns: Columns = Field(description="The columns: names or patterns.")
    type: Literal["Number", "Text", "Time"] = Field(description="What they become.")


class DropRowsSpec(Model):
    """Leaves out the rows in which a value is missing. They are no bad rows, and are not counted as such."""

    columns: Columns = Field(description="The columns that must have a value: names or patterns.")
