"""What is to be known of an algorithm without running it: by the spec's rules, the planner, the estimate, the report.

Every algorithm has one `Facts`; what a step asks of whom is in its folder (`driver.py`), what a worker computes in its
`worker.py`.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Facts:
    """An algorithm with its settings, as one job asks for it."""

    name: str
    """Of its folder below `sapflow.algorithms`."""
    unit: Literal["step", "contribution"] = "step"
    """What progress counts: versions, or contributions of ranks."""
    merged: bool = True
    """Whether contributions are summed up a merge tree; else the root applies each by itself."""
    local_steps: int = 1
    """Optimiser steps of a worker in one step of the job."""
    root_state: bool = True
    """Whether the optimiser's state is the root's; else it is the workers'."""
    averaged_state: bool = False
    """Whether the workers' optimiser state travels with the parameters and is averaged like them."""
    rank_state: bool = False
    """Whether each rank has a state of its own that outlives a step, and that commits name."""
    keeps_base: bool = False
    """Whether a worker keeps the version that it started from beside the model that it changes."""

    @property
    def counts_ranks(self) -> bool:
        """Whether commits count the contributions of each rank."""
        return self.unit == "contribution"

    def updates(self, workers: int) -> int:
        """Optimiser updates of a step of all workers, as the learning-rate schedule counts them."""
        return self.local_steps if self.merged else workers

    def units(self, workers: int) -> int:
        """Units of progress in a step of all workers."""
        return workers if self.counts_ranks else 1
