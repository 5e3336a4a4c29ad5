"""What a step of a job has to do, in the law's terms, and which constants go with where it runs."""

from dataclasses import dataclass

from sapflow.algorithms.optimizers import block_size
from sapflow.planning.constants import KNATIVE, LOCAL_DIRECTORY, LOCAL_MINIO, Constants
from sapflow.planning.cost_model import Work
from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.prices import AWS_LAMBDA, vcpus_of
from sapflow.quantities.roles import Role
from sapflow.spec.training_job import Runtime, TrainingJob

TRAINING_FLOPS = 3
"""Forward and backward, in forward passes: backward takes two products for each one of forward."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a plan is made from: values of a contribution, vectors at the root, a worker's arithmetic."""

    parameters: int
    averaged: int
    slots: int
    forward_flops: int
    """Of one sample."""


def constants_of(store: str, runtime: Runtime) -> Constants:
    """What a job whose state is in the store of this URL is planned with before anything of it was measured."""
    if runtime == "kubernetes":
        return KNATIVE
    return LOCAL_MINIO if store.startswith("s3://") else LOCAL_DIRECTORY


def work_of(
    job: TrainingJob, size: Size, constants: Constants, runtime: Runtime, instances: int | None
) -> Work:
    """A full step of a synchronous job. `instances`: calls that can be at work at once, None for any number.

    Computing is predicted from the model's arithmetic and the CPUs of a worker; locally a process has as many as it
    has threads, and instances share the machine's.
    """
    spec = job.spec
    samples = spec.data.batch_size * spec.algorithm.facts.local_steps
    cpus = float(spec.threads)
    if runtime == "kubernetes":
        cpus = min(cpus, _cpus(job, "worker"))
    mergers: Role = "worker" if spec.merge.reuse_workers else "merger"
    return Work(
        workers=spec.workers,
        parameters=size.parameters,
        averaged=size.averaged,
        slots=size.slots,
        compute_seconds=TRAINING_FLOPS * size.forward_flops * samples * constants.flop / cpus,
        worker_memory=parse_quantity(spec.memory.worker),
        merger_memory=parse_quantity(spec.memory.merger),
        merger_cpus=_cpus(job, mergers) if runtime == "kubernetes" else 1.0,
        mergers=mergers,
        cpu_limits=(job.cpus["worker"], job.cpus["merger"]),
        instances=instances,
    )


def most_shards(size: Size) -> int:
    """Shards are cut between blocks of norms."""
    return -(-(size.parameters + size.averaged) // block_size(size.parameters))


def _cpus(job: TrainingJob, role: Role) -> float:
    """A function's CPU limit in a cluster, which follows its memory where the job does not set it."""
    given = job.cpus[role]
    if given is not None:
        return given
    memory = job.spec.memory.worker if role == "worker" else job.spec.memory.merger
    return vcpus_of(AWS_LAMBDA, parse_quantity(memory))
