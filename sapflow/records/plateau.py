"""The state of the schedule Plateau, which is part of commits."""

from pydantic import Field

from sapflow.messages.message import Message


class PlateauState(Message):
    """The factor of the learning rate, and the history of the loss."""

    factor: float = Field(1.0, ge=0)
    """The factor of the learning rate."""
    best: float | None = None
    """The lowest loss so far, or None."""
    bad: int = Field(0, ge=0)
    """Number of losses that were not better since the best one, or since the rate was last lowered."""
    loss: float = 0.0
    """With TrainingLoss: the sum of losses over samples since the last comparison; then the samples and updates."""
    samples: int = Field(0, ge=0)
    updates: int = Field(0, ge=0)
