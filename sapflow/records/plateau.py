"""Where the schedule Plateau stands: a value that commits carry."""

from pydantic import Field

from sapflow.messages.message import Message


class PlateauState(Message):
    """The learning rate's factor, and what was seen of the loss that it follows."""

    factor: float = Field(1.0, ge=0)
    """Of the learning rate."""
    best: float | None = None
    """The lowest loss so far; None: there was none."""
    bad: int = Field(0, ge=0)
    """Losses since then, or since the rate was last lowered, that were no better."""
    loss: float = 0.0
    """TrainingLoss: the sum of losses over samples since the last comparison; then the samples, and the updates."""
    samples: int = Field(0, ge=0)
    updates: int = Field(0, ge=0)
