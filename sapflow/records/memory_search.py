"""What a job's commits hold of the search for its workers' memory size, and what its driver is told of it.

Sizes are in MiB here, as in the search.
"""

from typing import Literal

from pydantic import Field

from sapflow.messages.message import Message
from sapflow.quantities.memory import MIB, format_quantity

MOST_TRIALS = 22
"""Two first sizes and as many updates as a spec may ask for."""


class SearchSettings(Message):
    """The search that a spec asks for, with the bounds in force: above what was killed, below what may be given."""

    goal: Literal["Cost", "PerformancePerCost"]
    every_steps: int = Field(ge=1)
    max_updates: int = Field(ge=0)
    start: int = Field(ge=1)
    least: int = Field(ge=1)
    most: int = Field(ge=1)
    step: int = Field(1, ge=1)
    """Sizes are multiples of this."""
    seed: int = 0
    settle_seconds: float = Field(3.0, ge=0)
    """After functions were started, for which no step counts: those before end, and new ones find their caches cold."""


class SizeTrial(Message):
    """A size, and a step with it: seconds and dollars, and their standard error as a part of them."""

    size: int
    seconds: float
    cost_usd: float = Field(alias="costUSD")
    error: float = 0.0
    step: int = 0
    """The version that ended the trial."""


class SizeSearch(Message):
    """Where a search stands after a commit. The next state follows from this one and the next commit alone."""

    size: int
    """Wanted now."""
    least: int
    """What a worker is estimated to need, or the bound that is above it."""
    started: float = 0.0
    """Seconds of the job's account when functions were last started, or found with another size."""
    steps: list[tuple[float, float]] = []
    """Seconds and dollars of the warm steps with `size` so far."""
    trials: list[SizeTrial] = []
    killed: int = 0
    """Sizes wanted that were killed for memory: each was an update too."""
    done: bool = False

    @property
    def quantity(self) -> str:
        """The size wanted, as a Kubernetes quantity."""
        return format_quantity(self.size * MIB)
