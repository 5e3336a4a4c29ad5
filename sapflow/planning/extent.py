"""The length of a job: its number of steps, and the unit in which its progress is counted. Pure."""

from dataclasses import dataclass, replace

from sapflow.algorithms.facts import Facts
from sapflow.data.dealing import steps_per_epoch
from sapflow.records.commits import Commit
from sapflow.spec.training_job import TrainingJob


@dataclass(frozen=True, slots=True)
class Extent:
    """The length of a job. If progress is counted in contributions, a step is `workers` of them."""

    steps: int
    steps_per_epoch: int
    round_samples: int
    workers: int
    facts: Facts
    last_updates: int = 1
    """The number of optimiser updates in the last step of an epoch, which may have fewer samples than the others."""

    @classmethod
    def of(cls, job: TrainingJob, samples: int) -> "Extent":
        """The extent of a job with `samples` training samples."""
        spec, algorithm = job.spec, job.spec.algorithm
        round_samples = spec.workers * spec.data.batch_size * algorithm.facts.local_steps
        per_epoch = steps_per_epoch(samples, round_samples, drop_last=bool(spec.data.drop_last))
        # Where no step is left with dropLast, the job is refused elsewhere.
        per_epoch = max(1, per_epoch)
        steps = algorithm.steps or int(algorithm.epochs or 0) * per_epoch
        last = min(round_samples, samples - (per_epoch - 1) * round_samples)
        updates = algorithm.facts.updates_for(last, spec.workers, spec.data.batch_size)
        return cls(steps, per_epoch, round_samples, spec.workers, algorithm.facts, updates)

    def after(self, commit: Commit) -> "Extent":
        """The extent as a commit knows it: another one once the number of workers has changed."""
        if commit.lengths is None:
            return self
        return replace(self, steps=commit.lengths.steps)

    def steps_between_evaluations(self, job: TrainingJob) -> int:
        """A version is evaluated every so many steps, or commits: what the job says, else once an epoch."""
        return job.spec.evaluation.every_steps or self.steps_per_epoch * self.facts.units(self.workers)

    @property
    def unit(self) -> str:
        return self.facts.unit

    @property
    def total(self) -> int:
        """Units of progress of the whole job."""
        return self.steps * self.facts.units(self.workers)

    @property
    def updates_per_epoch(self) -> int:
        """The number of optimiser updates in an epoch, as the learning-rate schedule counts them."""
        return (self.steps_per_epoch - 1) * self.facts.updates(self.workers) + self.last_updates

    @property
    def updates(self) -> int:
        """The number of optimiser updates of the whole job."""
        epochs, rest = divmod(self.steps, self.steps_per_epoch)
        return epochs * self.updates_per_epoch + rest * self.facts.updates(self.workers)

    def skips(self, limit: int | None) -> int:
        """How many units of progress may be skipped: `limit`, or if that is None a tenth of all, at least one."""
        return max(1, -(-self.total // 10)) if limit is None else limit

    def done(self, commit: Commit) -> int:
        """Units of progress made by a commit."""
        return sum(commit.counters) if self.facts.counts_ranks else commit.version
