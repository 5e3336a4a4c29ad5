"""The search for the workers' memory size as the operator sees it: its bounds, and the size in force. Pure.

The driver says in status.progress which size it wants; the operator gives it, within the spec's bounds and its own, and
above every size that a worker was killed over.
"""

from dataclasses import replace

from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.prices import AWS_LAMBDA
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.document import parse
from sapflow.spec.training_job import TrainingJob
from sapflow_operator import growth
from sapflow_operator.kinds.training_pool import TrainingPool
from sapflow_operator.look import Look
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


def above_the_killed(wanted: TrainingPool, search: SearchSettings, look: Look) -> TrainingPool:
    """A search never comes back to a size that a worker was killed over, nor to one below; its driver, started
    anew, knows that by its bounds."""
    killed = look.observed.largest_killed("worker")
    if killed < search.least * MIB:
        return wanted
    said = f"a worker was killed over its memory limit of {format_quantity(killed)}"
    limit = wanted.memory("worker")
    parsed = parse(look.job.document, "kubernetes")
    bounds = settings(parsed, format_quantity(killed), look.settings.max_memory)
    # Also a size in force above the killed one that the search may not try any more: the driver waits for another.
    if parse_quantity(limit) <= killed or (bounds and parse_quantity(limit) < bounds.least * MIB):
        size = growth.larger(format_quantity(killed), format_quantity(search.most * MIB))
        if size is None:
            remedy = "raise spec.memory.optimize.max, or lower spec.data.microBatchSize"
            look.fail(growth.KILLED, f"{said}, and none above it may be given: {remedy}")
            return wanted
        said += f"; it is given {size}"
        look.conditions.mark_functions_waiting(said)
        wanted = growth.resized(wanted, {"worker": size}, look)
    look.say("MemoryGrown", f"{said}; no size up to that is tried again", "Warning")
    memory = look.status.get("memory", dict(wanted.sizes))
    look.status["memory"] = memory | {"workerKilled": format_quantity(killed)}
    return replace(wanted, search=bounds)


def followed(pool: TrainingPool, look: Look) -> TrainingPool:
    """The pool with the size that the driver's search has come to."""
    if pool.search is None or look.failed:
        return pool
    size, limit = wanted(look.job, pool.search), pool.memory("worker")
    if size is None or parse_quantity(size) == parse_quantity(limit):
        return pool
    look.say("MemoryChanged", f"workers are given {size} after {limit}")
    return growth.resized(pool, {"worker": size}, look)


def _mebibytes(quantity: str) -> int:
    return -(-parse_quantity(quantity) // MIB)
