"""How long a job is: its steps, and what counts as one unit of progress. Pure."""

from dataclasses import dataclass

from sapflow.algorithms.facts import Facts
from sapflow.data.sampler import steps_per_epoch
from sapflow.records.commits import Commit
from sapflow.spec.training_job import TrainingJob


@dataclass(frozen=True, slots=True)
class Extent:
    """How long a job is. Where contributions are what progress counts, they are `workers` a step."""

    steps: int
    steps_per_epoch: int
    round_samples: int
    workers: int
    facts: Facts

    @classmethod
    def of(cls, job: TrainingJob, samples: int) -> "Extent":
        """The extent of a job with so many training samples."""
        spec, algorithm = job.spec, job.spec.algorithm
        round_samples = spec.workers * spec.data.batch_size * algorithm.facts.local_steps
        per_epoch = steps_per_epoch(samples, round_samples)
        steps = algorithm.steps or int(algorithm.epochs or 0) * per_epoch
        return cls(steps, per_epoch, round_samples, spec.workers, algorithm.facts)

    @property
    def unit(self) -> str:
        return self.facts.unit

    @property
    def total(self) -> int:
        """Units of the whole job."""
        return self.steps * self.facts.units(self.workers)

    def done(self, commit: Commit) -> int:
        """Units that a commit stands on."""
        return sum(commit.counters) if self.facts.counts_ranks else commit.version
