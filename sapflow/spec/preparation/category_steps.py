"""Steps over categories and dates."""

from typing import Annotated, Literal

from pydantic import Field

from sapflow.spec.preparation.columns import ColumnName, Columns
from sapflow.spec.types import Count, Model

DatePart = Literal[
    "Year", "Month", "Day", "Hour", "Minute", "Second", "Weekday", "DayOfYear", "UnixSeconds",
    "MonthSin", "MonthCos", "HourSin", "HourCos", "WeekdaySin", "WeekdayCos", "DayOfYearSin", "DayOfYearCos",
]  # fmt: skip


class EncodeSpec(Model):
    """Makes numbers of categories, which are the values of columns of text or numbers (OneHotEncoder,
    OrdinalEncoder)."""

    columns: Columns = Field(description="The columns of text or numbers: names or patterns.")
    method: Literal["OneHot", "Ordinal", "Hash", "Classes"] = Field(
        description="OneHot: a feature for each category. Ordinal: its number in their order. Hash: a feature for each "
        "bucket of a hash of its text. Classes: the target's labels become numbers of classes, and their words class "
        "names."
    )
    top: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="So many of the most frequent categories are kept, and the others are rare."
    )
    min_count: Count | None = Field(
        None, description="Categories with fewer training rows than this are rare."
    )
    rare: Literal["Join"] | None = Field(
        None, description="Join: rare categories become one; left out: the same."
    )
    unseen: Literal["Error", "Ignore", "Other"] | None = Field(
        None,
        description="A category that no training row has. Error, or left out: the row is a bad row. Ignore: no feature "
        "is set, or Ordinal gives unseenValue. Other: it counts as rare.",
    )
    unseen_value: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] | None = Field(
        None, description="Ordinal with unseen Ignore: the number; −1 if left out."
    )
    buckets: Annotated[int, Field(ge=2, le=10_000)] | None = Field(
        None, description="Hash: the number of buckets."
    )


class CrossSpec(Model):
    """Makes one category of the values of several columns, to be encoded by a later step."""

    columns: Annotated[list[ColumnName], Field(min_length=2, max_length=4)] = Field(
        description="The columns of text or numbers, by name."
    )
    name: ColumnName = Field(description="The name of the new column of text.")


class DatesSpec(Model):
    """Replaces times by parts of them, in UTC, each a column `NAME_part`. Missing values stay missing."""

    columns: Columns = Field(description="The columns of times: names or patterns.")
    parts: Annotated[list[DatePart], Field(min_length=1, max_length=17)] = Field(
        description="Weekday is 0 on Mondays. Sin and Cos are of the part's place in its cycle; their bits are equal "
        "on CPUs of one kind."
    )
