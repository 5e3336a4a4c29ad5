"""Which merge tree and shards a job runs: what it names, and for what it leaves out the planner's best. Pure.

Without `limits.goal` that is the one of least time. With a goal, the one of least dollars within the deadline, or of
least time within the budget; where none keeps within it, the one that misses it by least.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from sapflow.planning import search
from sapflow.planning.constants import Constants
from sapflow.planning.cost_model import Work
from sapflow.planning.search import Candidate, Objective
from sapflow.planning.workload import Size, most_shards
from sapflow.spec.training_job import TrainingJob

LOOKED_AT = 2_000
"""Trees, best first, among which one that keeps within a limit is looked for."""
_UNLIMITED = 2**60


@dataclass(frozen=True, slots=True)
class Left:
    """What a job still has before it: steps, and seconds and dollars within its limits (None: no limit)."""

    steps: int | None = None
    """None: not known."""
    seconds: float | None = None
    dollars: float | None = None

    def allows(self, one: Candidate) -> bool:
        """Whether all steps left, taken by a tree, keep within the limits."""
        steps, said = self.steps or 0, one.prediction
        return all(
            limit is None or steps * value <= limit
            for value, limit in ((said.seconds, self.seconds), (said.dollars, self.dollars))
        )


def objective_of(job: TrainingJob) -> Objective:
    """What the planner makes least."""
    return "dollars" if job.spec.limits.goal == "LeastCost" else "seconds"


def within_limits(job: TrainingJob, steps: int | None, *, seconds: float = 0.0, dollars: float = 0.0) -> Left:
    """What `limits` leave to `steps` more steps after so many seconds and dollars.

    The limit that a goal is to keep within counts: the deadline for least cost, the budget for least time.
    """
    limits = job.spec.limits
    deadline = limits.deadline_seconds if limits.goal == "LeastCost" else None
    budget = limits.budget_usd if limits.goal == "LeastTime" else None
    return Left(
        steps,
        None if deadline is None else deadline - seconds,
        None if budget is None else budget - dollars,
    )


def held(job: TrainingJob, work: Work) -> Work:
    """The work as far as memory limits it: a function that is given more memory when it needs it is held to none."""
    if not job.spec.memory.grow_on_oom:
        return work
    return replace(work, worker_memory=_UNLIMITED, merger_memory=_UNLIMITED)


def candidates(
    job: TrainingJob, work: Work, constants: Constants, size: Size, by: Objective
) -> Iterator[Candidate]:
    """What the job may run, best first: its own structure and shards where it names them.

    Raises SpecError where mergers hold no shard of any.
    """
    merge, price = job.spec.merge, job.price
    if not job.planned:
        return iter([search.candidate(work, constants, price, job.structure, job.shards)])
    tree = None if merge.structure is None else tuple(merge.structure)
    if merge.shards is not None:
        shards = [merge.shards]
    else:
        shards = search.feasible_shards(held(job, work), most_shards(size))
    # No more mergers on a level than can be at work at once, but for what the job itself, or memory, asks for.
    least = min(shards) * (1 if tree is None else max(tree[:-1]))
    most = max(job.instances["worker" if merge.reuse_workers else "merger"], least)
    if tree is None:
        ranking = search.ranked(work, constants, price, shards=shards, objective=by)
    else:
        own = [search.candidate(work, constants, price, tree, number) for number in shards]
        ranking = iter(sorted(own, key=lambda one: (figure(one, by), one.shards)))
    return (one for one in ranking if one.shards * max(one.structure[:-1]) <= most)


def choose(job: TrainingJob, work: Work, constants: Constants, size: Size, left: Left) -> Candidate:
    """The tree and shards that the job is to run. Raises SpecError where no number of shards fits into mergers."""
    by = objective_of(job)
    ranking = candidates(job, work, constants, size, by)
    if left.seconds is None and left.dollars is None:
        return next(ranking)
    for one in islice(ranking, LOOKED_AT):
        if left.allows(one):
            return one
    other: Objective = "seconds" if by == "dollars" else "dollars"
    return next(candidates(job, work, constants, size, other))


def figure(one: Candidate, by: Objective) -> float:
    """What a step takes under a tree, in seconds or dollars."""
    return one.prediction.seconds if by == "seconds" else one.prediction.dollars
