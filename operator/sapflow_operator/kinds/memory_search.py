"""The operator's part of the search for the workers' memory size: its bounds, and the current size. Pure.

The driver requests a size in status.progress. The operator applies it within the spec's bounds and its own, and above
every size with which a worker was killed.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.prices import AWS_LAMBDA
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.training_job import TrainingJob
from sapflow_operator import growth
from sapflow_operator.kinds.job_pool import JobPool
from sapflow_operator.observed import JobObject
from sapflow_operator.reconciliation import Reconciliation

AnyPool = TypeVar("AnyPool", bound=JobPool)
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


def allowed(size: str, search: SearchSettings) -> str | None:
    """The size that the driver requests, if it is allowed."""
    try:
        return size if size and search.least * MIB <= parse_quantity(size) <= search.most * MIB else None
    except ValueError:
        return None


def asked(job: JobObject, spec: Mapping[str, Any]) -> str:
    """The request in the status.progress of a resource that searches by the spec of its job; empty if there is
    none."""
    if not spec.get("memory", {}).get("optimize"):
        return ""
    return str(job.status.get("progress", {}).get("memory", {}).get("worker", ""))


def above_the_killed(
    wanted: AnyPool, first: TrainingJob, search: SearchSettings, reconciliation: Reconciliation
) -> AnyPool:
    """The pool after a worker was killed. The search never returns to the killed size or a smaller one: the restarted
    driver gets higher bounds. `first` is the job as its user has written it.

    Where there is no larger size, the resource fails, unless it is a search, whose other trials go on.
    """
    killed = reconciliation.observed.largest_killed("worker")
    if killed < search.least * MIB:
        return wanted
    said = f"a worker was killed over its memory limit of {format_quantity(killed)}"
    limit = wanted.memory("worker")
    bounds = settings(first, format_quantity(killed), reconciliation.settings.max_memory)
    # The current size may be above the killed one and yet not allowed any more; the driver waits for another.
    if parse_quantity(limit) <= killed or (bounds and parse_quantity(limit) < bounds.least * MIB):
        size = growth.larger(format_quantity(killed), format_quantity(search.most * MIB))
        if size is None:
            remedy = (
                f"raise {wanted.fields}.memory.optimize.max, or lower {wanted.fields}.data.microBatchSize"
            )
            said = f"{said}, and none above it may be given: {remedy}"
            if wanted.fails_alone:
                reconciliation.conditions.mark_functions_not_ready(growth.KILLED, said)
            else:
                reconciliation.fail(growth.KILLED, said)
            return wanted
        said += f"; it is given {size}"
        reconciliation.conditions.mark_functions_waiting(said)
        wanted = growth.resized(wanted, {"worker": size}, reconciliation)
    reconciliation.say("MemoryGrown", f"{said}; no size up to that is tried again", "Warning")
    memory = reconciliation.status.get("memory", dict(wanted.sizes))
    reconciliation.status["memory"] = memory | {"workerKilled": format_quantity(killed)}
    return replace(wanted, search=bounds)


def followed(pool: AnyPool, reconciliation: Reconciliation, asked: str) -> AnyPool:
    """The pool with the size that the driver's search requests, which is `asked`."""
    if pool.search is None or reconciliation.failed:
        return pool
    size, limit = allowed(asked, pool.search), pool.memory("worker")
    if size is None or parse_quantity(size) == parse_quantity(limit):
        return pool
    reconciliation.say("MemoryChanged", f"workers are given {size} after {limit}")
    return growth.resized(pool, {"worker": size}, reconciliation)


def _mebibytes(quantity: str) -> int:
    return -(-parse_quantity(quantity) // MIB)
