"""How long a job is: its steps, and what counts as one unit of progress. Pure."""

from dataclasses import dataclass

from sapflow.data.sampler import steps_per_epoch
from sapflow.records.commits import Commit
from sapflow.spec.training_job import TrainingJob


@dataclass(frozen=True, slots=True)
class Extent:
    """How long a job is. In asynchronous mode progress is counted in contributions, `workers` a step."""

    steps: int
    steps_per_epoch: int
    round_samples: int
    workers: int
    asynchronous: bool

    @classmethod
    def of(cls, job: TrainingJob, samples: int) -> "Extent":
        """The extent of a job with so many training samples."""
        spec, algorithm = job.spec, job.spec.algorithm
        round_samples = spec.workers * spec.data.batch_size * algorithm.local_steps
        per_epoch = steps_per_epoch(samples, round_samples)
        steps = algorithm.steps or int(algorithm.epochs or 0) * per_epoch
        return cls(steps, per_epoch, round_samples, spec.workers, algorithm.mode == "Async")

    @property
    def unit(self) -> str:
        return "contribution" if self.asynchronous else "step"

    @property
    def total(self) -> int:
        """Units of the whole job."""
        return self.steps * self.workers if self.asynchronous else self.steps

    def done(self, commit: Commit) -> int:
        """Units that a commit stands on."""
        return sum(commit.counters) if self.asynchronous else commit.version
