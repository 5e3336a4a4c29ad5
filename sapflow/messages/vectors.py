"""Vectors as messages name them: their sizes, and the objects that they lie in."""

from pydantic import Field

from sapflow.messages.message import Message


class Part(Message):
    """One object of a vector that is cut into ranges: elements `start` to `stop` of the whole."""

    key: str
    start: int = Field(ge=0)
    stop: int = Field(ge=0)


class Sizes(Message):
    """Sizes of a job's vectors in float32 elements.

    `parameters` P are trained; behind them lie `averaged` A values that are averaged past the optimiser: float
    buffers, and local optimiser state where it travels. `block` is the unit of norms and shards.
    """

    parameters: int = Field(ge=1)
    averaged: int = Field(ge=0)
    block: int = Field(ge=1)

    @property
    def total(self) -> int:
        return self.parameters + self.averaged
