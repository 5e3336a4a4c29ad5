"""References to contributions: the place of an object as a value in requests and replies."""

from pydantic import Field

from sapflow.messages.message import Message

STORE, CELL, INLINE = "store", "cell", "inline"


class Ref(Message):
    """An object with elements `start` to `stop` of a contribution's vector.

    `key` is its name on `channel`, which carries it from the function that writes it to the one that reads it.
    `codec` is the encoding of its floats.
    """

    channel: str = STORE
    key: str
    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    codec: str = "float32"
    cell: int | None = Field(None, ge=0)
    """For channel `cell`: the number of the cell whose volume holds it."""

    @property
    def count(self) -> int:
        """The number of elements."""
        return self.stop - self.start
