"""A trial, as the search's log tells it."""

from dataclasses import dataclass
from typing import Literal

from sapflow.tuning.actions import Parameters

Phase = Literal["Paused", "Running", "Stopping", "Stopped", "Finished", "Failed"]
ENDED = ("Stopped", "Finished", "Failed")


@dataclass(frozen=True, slots=True)
class Origin:
    """The version of another trial that a fork began at."""

    trial: int
    version: int
    at: int


@dataclass(slots=True, eq=False)
class Trial:
    """A set of parameters and how far it has come. Only `State` changes one."""

    number: int
    parameters: Parameters
    origin: Origin | None = None
    phase: Phase = "Paused"
    to: int = 0
    """Units that it has been or is trained to."""
    at: int = 0
    """Units done, as it has reported."""
    version: int = 0
    """The version at `at`, or the result's."""
    values: tuple[float, ...] = ()
    """The objectives at `at`."""
    best: tuple[float, ...] = ()
    """The objectives of its best report by the first one."""
    seconds: float = 0.0
    dollars: float = 0.0
    decision: int = -1
    """The number of the decision that trains it now or did so last."""
    reason: str = ""
    """Why it was stopped or has failed."""
    message: str = ""

    @property
    def ended(self) -> bool:
        return self.phase in ENDED
