"""Steps over text."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from sapflow.spec.preparation.columns import ColumnName, Columns
from sapflow.spec.types import Model


class TokensSpec(Model):
    """Makes numbers of tokens of text: by a byte-level BPE that is trained on the training rows, or by a tokenizer of
    yours."""

    column: ColumnName = Field(description="The column of text.")
    vocabulary: Annotated[int, Field(ge=257, le=262_144)] | None = Field(
        None, description="The number of tokens of the BPE that is trained; this or tokenizer."
    )
    tokenizer: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = Field(
        None,
        description="A tokenizer.json of Hugging Face's tokenizers: `s3://bucket/key`, or a path (local runs).",
    )
    length: Annotated[int, Field(ge=1, le=65_536)] = Field(
        description="Tokens of a row: longer text is cut off, shorter is padded."
    )


class BagOfWordsSpec(Model):
    """Makes features of how often words are in text (CountVectorizer, TfidfVectorizer, HashingVectorizer)."""

    columns: Columns = Field(description="The columns of text: names or patterns.")
    buckets: Annotated[int, Field(ge=2, le=65_536)] | None = Field(
        None, description="Words are hashed to so many features; this or top."
    )
    top: Annotated[int, Field(ge=1, le=65_536)] | None = Field(
        None, description="The most frequent words have a feature each; this or buckets."
    )
    weights: Literal["Counts", "TfIdf"] | None = Field(
        None,
        description="Counts, or left out: how often a word is in the text. TfIdf: the rarer a word is in the training "
        "rows, the more, and each row's norm is 1.",
    )
