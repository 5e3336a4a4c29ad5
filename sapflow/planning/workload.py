"""What a step of a job has to do, in the cost model's terms, and the constants for the place where it runs."""

from dataclasses import dataclass

from sapflow.algorithms.optimizers import block_size
from sapflow.planning.constants import KNATIVE, LOCAL_DIRECTORY, LOCAL_MINIO, Constants
from sapflow.planning.cost_model import Work
from sapflow.planning.data_load import DataLoad
from sapflow.planning.inline import REQUEST
from sapflow.quantities import cpu_limits
from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.roles import Role
from sapflow.spec.training_job import Runtime, TrainingJob

TRAINING_FLOPS = 3
"""Arithmetic of forward and backward in forward passes: backward takes two products for each one of forward."""


@dataclass(frozen=True, slots=True)
class Size:
    """The figures of a model that a plan is made from: trained and averaged values, the root's optimiser state
    vectors, a worker's arithmetic."""

    parameters: int
    averaged: int
    slots: int
    forward_flops: int
    """Floating-point operations of one sample's forward pass."""


def constants_of(store: str, runtime: Runtime) -> Constants:
    """The constants that a job is planned with before it was measured, by its store's URL and its runtime."""
    if runtime == "kubernetes":
        return KNATIVE
    return LOCAL_MINIO if store.startswith("s3://") else LOCAL_DIRECTORY


def work_of(
    job: TrainingJob,
    size: Size,
    constants: Constants,
    runtime: Runtime,
    instances: int | None,
    request_bytes: int = REQUEST,
    *,
    load: DataLoad | None = None,
) -> Work:
    """The work of a full step of a synchronous job. `instances` is the number of calls that can be at work at once,
    None for any number; `request_bytes` is what one request may carry of inline contributions. `load` is what a worker
    reads of the data; None: the data is not known, or nothing is read.

    Computing time is predicted from the model's arithmetic and a worker's CPUs. A local process has as many CPUs as
    threads.
    """
    spec = job.spec
    samples = spec.data.batch_size * spec.algorithm.facts.local_steps
    cpus = float(spec.threads)
    if runtime == "kubernetes":
        cpus = min(cpus, _cpus(job, "worker"))
    mergers: Role = "worker" if spec.merge.reuse_workers else "merger"
    read = load or DataLoad(0.0, 0.0)
    return Work(
        data_seconds=read.requests * constants.request + read.bytes * constants.read,
        data_bytes=read.bytes,
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
        roots_return=runtime == "local",
        remote=constants is not LOCAL_DIRECTORY,
        request_bytes=0 if spec.merge.channel == "Store" or spec.affinity is not None else request_bytes,
    )


def most_shards(size: Size) -> int:
    """The largest number of shards: they are cut on the boundaries of the blocks whose norms are taken."""
    return -(-(size.parameters + size.averaged) // block_size(size.parameters))


def _cpus(job: TrainingJob, role: Role) -> float:
    """A function's CPU limit in a cluster."""
    return cpu_limits.limit(job.memory_bytes[role], job.cpus[role], by_memory=job.cpu_by_memory)
