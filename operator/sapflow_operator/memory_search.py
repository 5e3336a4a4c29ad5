"""The search for the workers' memory size as the operator sees it: its bounds, and the size in force. Pure.

The driver says in status.progress which size it wants; the operator gives it, within the spec's bounds and its own, and
above every size that a worker was killed over.
"""

from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.prices import AWS_LAMBDA
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.training_job import TrainingJob
from sapflow_operator.observed import JobObject

STEP = 16
"""MiB between two sizes, or what a platform sells apart where that is more."""
MARGIN = 8
"""A size that is by less than this part above a killed one would very likely be killed too."""


def settings(job: TrainingJob, killed: str | None, most: str) -> SearchSettings | None:
    """What the driver is told of the search that a spec asks for; None where it asks for none.

    `killed`: the largest limit that a worker was killed over; `most`: what the operator gives at most.
    """
    spec, asked = job.spec, job.spec.memory.optimize
    if asked is None:
        return None
    start = _mebibytes(spec.memory.worker)
    largest = spec.threads * AWS_LAMBDA.mb_per_vcpu if asked.max is None else parse_quantity(asked.max) / MIB
    largest = max(start, int(min(largest, parse_quantity(most) / MIB)))
    least = 1 if asked.min is None else _mebibytes(asked.min)
    if killed is not None:
        size = parse_quantity(killed) // MIB
        least = max(least, min(size + max(1, size // MARGIN), largest))
    return SearchSettings(
        goal=asked.goal,
        every_steps=asked.every_steps,
        max_updates=asked.max_updates,
        start=start,
        least=least,
        most=largest,
        step=max(STEP, job.price.memory_step_mb),
        seed=spec.algorithm.seed,
    )


def in_force(search: SearchSettings, standing: str | None) -> str:
    """The workers' limit: what the status says, at first where the search starts."""
    return format_quantity(search.start * MIB) if standing is None else standing


def wanted(job: JobObject, search: SearchSettings) -> str | None:
    """The size that the driver asks for, where it may be given."""
    size = asked(job)
    try:
        return size if size and search.least * MIB <= parse_quantity(size) <= search.most * MIB else None
    except ValueError:
        return None


def asked(job: JobObject) -> str:
    """What status.progress says of a job that searches; empty where its driver has said nothing."""
    if not job.spec.get("memory", {}).get("optimize"):
        return ""
    return str(job.status.get("progress", {}).get("memory", {}).get("worker", ""))


def _mebibytes(quantity: str) -> int:
    return -(-parse_quantity(quantity) // MIB)
