"""How far a trial is, in the units of its search and in versions. Pure."""

from dataclasses import dataclass

from sapflow.planning.extent import Extent
from sapflow.records.commits import Commit
from sapflow.spec.training_job import TrainingJob


@dataclass(frozen=True, slots=True)
class Lengths:
    """Converts between versions and units: epochs where the job says how many of them, else steps."""

    total: int
    """Units of the whole job."""
    per_unit: int
    """Versions that a unit has."""
    in_epochs: bool
    counts_ranks: bool
    """Whether versions are commits of an asynchronous job, which has as many steps as its slowest rank has made."""

    @classmethod
    def of(cls, job: TrainingJob, extent: Extent) -> "Lengths":
        """The lengths of a job with this extent."""
        algorithm = job.spec.algorithm
        in_epochs = algorithm.steps is None
        total = int(algorithm.epochs or 0) if in_epochs else int(algorithm.steps or 0)
        per_unit = extent.steps_per_epoch if in_epochs else 1
        return cls(total, per_unit, in_epochs, extent.facts.counts_ranks)

    def version(self, units: int) -> int | None:
        """The version after so many units, None for the end of the job.

        An asynchronous job cannot be stopped in between so that its bits stay: it goes to its end at once.
        """
        if units >= self.total or self.counts_ranks:
            return None
        return units * self.per_unit

    def units(self, commit: Commit) -> int:
        """The complete units that a job has done with this commit as its last."""
        if self.in_epochs:
            return commit.cursor.epoch
        return min(commit.counters) if self.counts_ranks else commit.version
