"""Facts about an algorithm for those who do not run it: the spec's rules, the planner, the estimate, the report.

Every algorithm has one `Facts`. The driver's part of a step is `driver.py` in the algorithm's folder.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Facts:
    """An algorithm with its settings, as one job asks for it."""

    name: str
    """The name of its folder in `sapflow.algorithms`."""
    unit: Literal["step", "contribution"] = "step"
    """The unit of progress: versions, or contributions of ranks."""
    merged: bool = True
    """Whether a merge tree sums contributions; otherwise the root applies each separately."""
    local_steps: int = 1
    """Number of optimiser steps of a worker in one step of the job."""
    root_state: bool = True
    """Whether the root keeps the optimiser's state; otherwise the workers do."""
    averaged_state: bool = False
    """Whether the workers' optimiser state is averaged like the parameters and sent with them."""
    rank_state: bool = False
    """Whether each rank has its own state, which survives a step and is named by commits."""
    keeps_base: bool = False
    """Whether a worker keeps the version that it started from in addition to the model that it changes."""

    @property
    def counts_ranks(self) -> bool:
        """Whether commits count the contributions of each rank."""
        return self.unit == "contribution"

    def updates(self, workers: int) -> int:
        """The number of optimiser updates in a full step of all workers, as the learning-rate schedule counts them."""
        return self.local_steps if self.merged else workers

    def updates_for(self, samples: int, workers: int, batch: int) -> int:
        """The number of optimiser updates in a step that divides `samples` as evenly as possible among the workers.

        A worker with fewer samples takes fewer local steps; a round counts those of the largest share. In
        asynchronous mode a worker without samples contributes nothing.
        """
        if not self.merged:
            return min(workers, samples)
        return min(self.local_steps, -(-samples // (workers * batch)))

    def units(self, workers: int) -> int:
        """The number of units of progress in a step of all workers."""
        return workers if self.counts_ranks else 1
