"""Names of columns, and patterns of them, as a preparation names them."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
ColumnKind = Literal["Number", "Text", "Time", "Image"]
Columns = Annotated[list[ColumnName], Field(min_length=1, max_length=1024)]
"""Names, or patterns with `*` for any text and `?` for one character."""
Side = Annotated[int, Field(ge=1, le=4096)]
Size = Annotated[list[Side], Field(min_length=2, max_length=2)]
"""Height and width in pixels."""
