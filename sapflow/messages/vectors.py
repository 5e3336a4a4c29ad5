"""Vectors in messages: their sizes, and the objects that hold them."""

from pydantic import Field

from sapflow.messages.message import Message


class Part(Message):
    """An object that holds elements `start` to `stop` of a vector that is stored in several objects."""

    key: str
    start: int = Field(ge=0)
    stop: int = Field(ge=0)


class Sizes(Message):
    """Sizes of a job's vectors in float32 elements.

    `parameters` (P) values are trained. After them come `averaged` (A) values that are averaged and bypass the
    optimiser: float buffers, and local optimiser state if it is averaged, too. `block` is the unit of norms and shards.
    """

    parameters: int = Field(ge=1)
    averaged: int = Field(ge=0)
    block: int = Field(ge=1)

    @property
    def total(self) -> int:
        return self.parameters + self.averaged
