"""How far a job's evaluated versions are judged: part of commits, so that a driver need not read them all again."""

from pydantic import Field

from sapflow.messages.message import Message


class Judged(Message):
    """What judging the evaluated versions up to `through`, in their order, has come to.

    It follows from the evaluations' records alone. A commit has it as its driver knew it then, so it may be behind.
    """

    through: int = Field(0, ge=0)
    """The newest version that is judged."""
    reached: int | None = None
    """The version that meets the target."""
    stopped: int | None = None
    """The version at which early stopping ends the job."""
    best: int | None = None
    """With `keepBest`, the best version, and its metric."""
    best_value: float | None = None
    watched: float | None = None
    """With early stopping, the metric that later versions must better, and how many have not."""
    waited: int = Field(0, ge=0)
