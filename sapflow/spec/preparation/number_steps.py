"""Steps over numbers: missing values, scaling, bins. Those with a method of scikit-learn's give what it gives."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from sapflow.spec.preparation.columns import ColumnName, Columns
from sapflow.spec.types import Model


class ImputeSpec(Model):
    """Fills in missing values, by what the training rows have (SimpleImputer)."""

    columns: Columns = Field(description="The columns: names or patterns.")
    strategy: Literal["Constant", "Mean", "Median", "MostFrequent"] = Field(
        description="Mean and Median are of numbers. MostFrequent, of several the smallest, and Constant are of "
        "numbers or text."
    )
    value: float | None = Field(None, description="Constant: what columns of numbers get.")
    text: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        None, description="Constant: what columns of text get."
    )
    indicator: bool | None = Field(
        None,
        description="Whether a further column, `NAME_missing`, says where a value was missing (1) or not (0); left "
        "out: no.",
    )


class ScaleSpec(Model):
    """Brings numbers to one scale, by what the training rows have. Missing values stay missing. A column that is
    constant becomes 0, or with MaxAbs −1, 0 or 1."""

    columns: Columns = Field(description="The columns of numbers: names or patterns.")
    method: Literal["Standard", "MinMax", "Robust", "MaxAbs"] = Field(
        description="Standard: less the mean, divided by the standard deviation. MinMax: 0 at the least value, 1 at "
        "the largest. Robust: less the median, divided by the distance of the quartiles. MaxAbs: divided by the "
        "largest absolute value."
    )
    by: ColumnName | None = Field(
        None,
        description="A column of text or numbers whose values are groups: each is scaled by itself.",
    )


class BinSpec(Model):
    """Replaces numbers by the number of the bin that they fall in, from 0 (KBinsDiscretizer)."""

    columns: Columns = Field(description="The columns of numbers: names or patterns.")
    quantiles: Annotated[int, Field(ge=2, le=256)] | None = Field(
        None,
        description="So many bins that have about as many training rows each; quantiles that fall together make fewer.",
    )
    edges: Annotated[list[float], Field(min_length=1, max_length=255)] | None = Field(
        None,
        description="Where bins end, ascending: values below the first are in bin 0, those from it on in bin 1.",
    )


class ClipSpec(Model):
    """Replaces numbers beyond a bound by the bound."""

    columns: Columns = Field(description="The columns of numbers: names or patterns.")
    min: float | None = Field(None, description="The least value.")
    max: float | None = Field(None, description="The largest value.")


class Log1pSpec(Model):
    """Replaces numbers x by log(1 + x). A number of −1 or less is a bad row. Bits are equal on CPUs of one kind."""

    columns: Columns = Field(description="The columns of numbers: names or patterns.")
