"""Where a contribution is, as a value that requests and replies carry."""

from pydantic import Field

from sapflow.messages.message import Message

STORE, CELL, INLINE = "store", "cell", "inline"


class Ref(Message):
    """One object with elements `start` to `stop` of a contribution's vector.

    `key` is its name on `channel`, which carries it from the function that writes it to the one that reads it;
    `codec` is how its floats are encoded.
    """

    channel: str = STORE
    key: str
    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    codec: str = "float32"
    cell: int | None = Field(None, ge=0)
    """Channel `cell`: whose volume holds it."""

    @property
    def count(self) -> int:
        """Elements of the range."""
        return self.stop - self.start
