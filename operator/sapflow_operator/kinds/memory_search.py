"""The operator's part of the search for the workers' memory size: its bounds, and the current size. Pure.

The driver requests a size in status.progress. The operator applies it within the spec's bounds and its own, and above
every size with which a worker was killed.
"""

from dataclasses import replace

from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.prices import AWS_LAMBDA
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.document import parse
from sapflow.spec.training_job import TrainingJob
from sapflow_operator import growth
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.observed import JobObject
from sapflow_operator.reconciliation import Reconciliation

STEP = 16
"""MiB between two sizes; if the platform's sizes are further apart, those count."""
MARGIN = 8
"""A size that is larger than a killed one by less than this fraction would very likely be killed, too."""


def settings(job: TrainingJob, killed: str | None, most: str) -> SearchSettings | None:
    """The driver's settings for the search that a spec asks for; None if it asks for none.

    `killed` is the largest limit with which a worker was killed, `most` the largest that the operator allows.
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
    """The workers' current limit: that of the status, or at first the start of the search."""
    return format_quantity(search.start * MIB) if standing is None else standing


def wanted(job: JobObject, search: SearchSettings) -> str | None:
    """The size that the driver requests, if it is allowed."""
    size = asked(job)
    try:
        return size if size and search.least * MIB <= parse_quantity(size) <= search.most * MIB else None
    except ValueError:
        return None


def asked(job: JobObject) -> str:
    """The request in the status.progress of a job that searches; empty if there is none."""
    if not job.spec.get("memory", {}).get("optimize"):
        return ""
    return str(job.status.get("progress", {}).get("memory", {}).get("worker", ""))


def above_the_killed(
    wanted: TrainingPool, search: SearchSettings, reconciliation: Reconciliation
) -> TrainingPool:
    """The pool after a worker was killed. The search never returns to the killed size or a smaller one: the restarted
    driver gets higher bounds."""
    killed = reconciliation.observed.largest_killed("worker")
    if killed < search.least * MIB:
        return wanted
    said = f"a worker was killed over its memory limit of {format_quantity(killed)}"
    limit = wanted.memory("worker")
    parsed = parse(reconciliation.job.document, "kubernetes")
    bounds = settings(parsed, format_quantity(killed), reconciliation.settings.max_memory)
    # The current size may be above the killed one and yet not allowed any more; the driver waits for another.
    if parse_quantity(limit) <= killed or (bounds and parse_quantity(limit) < bounds.least * MIB):
        size = growth.larger(format_quantity(killed), format_quantity(search.most * MIB))
        if size is None:
            remedy = "raise spec.memory.optimize.max, or lower spec.data.microBatchSize"
            reconciliation.fail(growth.KILLED, f"{said}, and none above it may be given: {remedy}")
            return wanted
        said += f"; it is given {size}"
        reconciliation.conditions.mark_functions_waiting(said)
        wanted = growth.resized(wanted, {"worker": size}, reconciliation)
    reconciliation.say("MemoryGrown", f"{said}; no size up to that is tried again", "Warning")
    memory = reconciliation.status.get("memory", dict(wanted.sizes))
    reconciliation.status["memory"] = memory | {"workerKilled": format_quantity(killed)}
    return replace(wanted, search=bounds)


def followed(pool: TrainingPool, reconciliation: Reconciliation) -> TrainingPool:
    """The pool with the size that the driver's search requests."""
    if pool.search is None or reconciliation.failed:
        return pool
    size, limit = wanted(reconciliation.job, pool.search), pool.memory("worker")
    if size is None or parse_quantity(size) == parse_quantity(limit):
        return pool
    reconciliation.say("MemoryChanged", f"workers are given {size} after {limit}")
    return growth.resized(pool, {"worker": size}, reconciliation)


def _mebibytes(quantity: str) -> int:
    return -(-parse_quantity(quantity) // MIB)
