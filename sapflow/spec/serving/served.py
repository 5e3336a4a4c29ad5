"""What a serving process reads of its ModelService: the decisions of who starts it, as one document."""

from typing import Annotated

from pydantic import Field, StringConstraints

from sapflow.spec.serving.decision import DecisionSpec
from sapflow.spec.serving.serve import BatchSpec, ServeLimitsSpec
from sapflow.spec.types import SHA256_PATTERN, URL_PATTERN, Dotted, Model


class ServedDocument(Model):
    """One version of a served model."""

    name: str = Field(description="What requests call the model.")
    version: str = Field(description="What requests call this version, such as a revision.")
    key: str = Field(description="The key of its model.safetensors in the store.")
    sha256: Annotated[str, StringConstraints(pattern=SHA256_PATTERN)] | None = Field(
        None, description="The SHA-256 that the file must have; left out: any."
    )
    entrypoints: list[Dotted] = Field([], description="Code that the file may name.")
    decision: DecisionSpec | None = None
    batch: BatchSpec | None = None
    limits: ServeLimitsSpec | None = None
    asks_token: bool = Field(True, description="Whether requests need the bearer token of the process.")
    needs_golden_rows: bool = Field(
        False,
        description="Whether there must be golden rows beside the model; they are replayed wherever they are.",
    )
    compare_url: Annotated[str, StringConstraints(pattern=URL_PATTERN)] | None = Field(
        None, description="Another version, which is asked the same after each answer."
    )
