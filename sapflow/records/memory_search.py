"""The search for the workers' memory size: its settings, and its state as a job's commits hold it.

Sizes are in MiB.
"""

from typing import Literal

from pydantic import Field

from sapflow.messages.message import Message
from sapflow.quantities.memory import MIB, format_quantity

MOST_TRIALS = 22
"""The two first sizes and the most updates that a spec may ask for."""


class SearchSettings(Message):
    """The search that a spec asks for, with bounds that also exclude sizes that are too small or not available."""

    goal: Literal["Cost", "PerformancePerCost"]
    every_steps: int = Field(ge=1)
    max_updates: int = Field(ge=0)
    start: int = Field(ge=1)
    least: int = Field(ge=1)
    most: int = Field(ge=1)
    step: int = Field(1, ge=1)
    """Sizes tried are multiples of this."""
    seed: int = 0
    settle_seconds: float = Field(3.0, ge=0)
    """How long no step counts after functions were started: old ones still end, and new ones have cold caches."""


class SizeTrial(Message):
    """A size, the mean seconds and dollars of a step with it, and their relative standard error."""

    size: int
    seconds: float
    cost_usd: float = Field(alias="costUSD")
    error: float = 0.0
    step: int = 0
    """The version with which the trial ended."""


class SizeSearch(Message):
    """The state of a search after a commit. The next state follows from this one and the next commit alone."""

    size: int
    """The size that workers are to have now."""
    least: int
    """The lower bound: the estimate of what a worker needs, or the spec's bound if that is larger."""
    started: float = 0.0
    """The job's seconds (`Account.seconds`) when functions were last started or found with another size."""
    steps: list[tuple[float, float]] = []
    """Seconds and dollars of the warm steps with `size` so far."""
    trials: list[SizeTrial] = []
    killed: int = 0
    """Number of sizes whose workers were killed for lack of memory; each of them counts as an update."""
    done: bool = False

    @property
    def quantity(self) -> str:
        """The size wanted, as a Kubernetes quantity."""
        return format_quantity(self.size * MIB)
