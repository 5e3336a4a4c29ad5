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
    The `frozen` values of parameters without gradients come last: version 0 has them, and all versions name its object.
    """

    parameters: int = Field(ge=1)
    averaged: int = Field(ge=0)
    block: int = Field(ge=1)
    frozen: int = Field(0, ge=0)

    @property
    def total(self) -> int:
        """The number of values that change: those of a contribution."""
        return self.parameters + self.averaged

    @property
    def with_frozen(self) -> int:
        """The number of all values of a version."""
        return self.total + self.frozen
