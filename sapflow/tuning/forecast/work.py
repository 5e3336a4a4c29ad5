"""What a step of a trial takes by the planner's cost model, and how many steps the trial has. Pure."""

from dataclasses import dataclass, replace

from sapflow.data.manifest import Manifest
from sapflow.planning import choice, data_load, search, workload
from sapflow.planning.constants import Constants
from sapflow.planning.cost_model import Prediction
from sapflow.planning.extent import Extent
from sapflow.planning.workload import Size
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.tuning.lengths import Lengths


@dataclass(frozen=True, slots=True)
class Place:
    """Where trials are to run, as the cost model knows it."""

    constants: Constants
    runtime: Runtime
    instances: int | None
    """Calls that can be at work at once; None: any number."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A warm step of a trial, and the trial's length."""

    seconds: float
    dollars: float
    call_seconds: float
    """Summed over the step's calls."""
    calls: int
    compute_seconds: float
    """In which one worker computes."""
    steps: int
    """Of the whole trial."""
    steps_per_unit: float
    evaluations_per_unit: float
    length: int
    """Units of the whole trial: epochs, or steps."""
    at_once: bool
    """Whether the trial goes to its end at once, because it cannot pause."""

    @property
    def trial_seconds(self) -> float:
        """All steps of the trial."""
        return self.steps * self.seconds

    @property
    def trial_dollars(self) -> float:
        return self.steps * self.dollars


def estimate(
    job: TrainingJob, size: Size, manifest: Manifest, place: Place, compute: float = 1.0
) -> Estimate:
    """Estimate a trial whose model has this size. `compute` multiplies the computing time that follows from arithmetic.

    Raises SpecError if its mergers have too little memory whatever the shard count.
    """
    extent = Extent.of(job, manifest.train_samples)
    lengths = Lengths.of(job, extent)
    load = data_load.of(job, manifest)
    work = workload.work_of(job, size, place.constants, place.runtime, place.instances, load=load)
    work = replace(work, compute_seconds=compute * work.compute_seconds)
    if extent.facts.merged:
        remaining = choice.within_limits(job, extent.steps)
        said = choice.choose(job, work, place.constants, size, remaining).prediction
    else:
        # One root applies the contributions one after the other; n of them are a step.
        flat = (1, job.spec.workers)
        said = search.candidate(work, place.constants, job.price, flat, 1).prediction
    return Estimate(
        seconds=said.seconds,
        dollars=said.dollars,
        call_seconds=_call_seconds(said),
        calls=said.calls,
        compute_seconds=work.compute_seconds,
        steps=extent.steps,
        steps_per_unit=extent.steps / max(lengths.total, 1),
        evaluations_per_unit=_evaluations(job, extent) / max(lengths.total, 1),
        length=lengths.total,
        at_once=lengths.counts_ranks,
    )


def _call_seconds(said: Prediction) -> float:
    return sum(stage.calls * stage.seconds for stage in said.stages)


def _evaluations(job: TrainingJob, extent: Extent) -> float:
    """Evaluations on the way. The one at the end is that of the last advance."""
    return max(0, -(-extent.total // extent.steps_between_evaluations(job)) - 1)
