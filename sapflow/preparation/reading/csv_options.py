"""How CSV files are written, as a user says it."""

import codecs
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from sapflow.data.options import Options
from sapflow.preparation.reading.quoting import Marks
from sapflow.preparation.reading.text_file import Encoding
from sapflow.preparation.reading.typed_fields import Notation


def _encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError as error:
        raise ValueError(
            f"{name!r} is no encoding that Python knows, such as utf-8, cp1252 or utf-16"
        ) from error


def _mark(mark: str) -> str:
    if mark and (not mark.isascii() or mark in "\r\n\0"):
        raise ValueError(f"must be an ASCII character and no newline, not {mark!r}")
    return mark


Mark = Annotated[str, Field(max_length=1), AfterValidator(_mark)]


class CsvOptions(Options):
    """Options of CSV files that are prepared. `header: Auto` decides by the first row of the first file and those after
    it; `times` is the pattern of times as strptime has it, ISO 8601 if it is empty."""

    header: Literal["Auto", "Present", "Absent"] = "Auto"
    delimiter: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_mark)] = ","
    quote: Mark = '"'
    escape: Mark = ""
    decimal: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_mark)] = "."
    thousands: Annotated[str, Field(max_length=1)] = ""
    encoding: Annotated[str, Field(max_length=64), AfterValidator(_encoding)] = "utf-8"
    times: Annotated[str, Field(max_length=64)] = ""

    @model_validator(mode="after")
    def _different(self) -> "CsvOptions":
        marks = [each for each in (self.delimiter, self.quote, self.escape) if each]
        if len(set(marks)) < len(marks):
            raise ValueError(
                "delimiter, quote and escape must be different characters; leave escape out for doubled quotes"
            )
        if self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands are both {self.decimal!r}: they must differ")
        return self

    @property
    def marks(self) -> Marks:
        return Marks(
            ord(self.delimiter),
            ord(self.quote) if self.quote else None,
            ord(self.escape) if self.escape else None,
        )

    @property
    def written_in(self) -> Encoding:
        return Encoding(self.encoding)

    def notation(self, missing: tuple[str, ...]) -> Notation:
        return Notation(missing, self.decimal, self.thousands, self.times)
