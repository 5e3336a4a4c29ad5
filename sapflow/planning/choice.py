"""The choice of a job's merge tree and shard count: what the spec names is kept, the planner chooses the rest. Pure.

Without `limits.goal` the planner takes the tree of least time. With a goal it takes the cheapest within the deadline,
or the fastest within the budget; where none keeps within the limit, the one that misses it by least.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from sapflow.errors import SpecError
from sapflow.planning import search
from sapflow.planning.constants import Constants
from sapflow.planning.cost_model import Work
from sapflow.planning.inline import misfit
from sapflow.planning.search import Candidate, Objective
from sapflow.planning.workload import Size, most_shards
from sapflow.spec.training_job import TrainingJob

_MOST_INLINE = 200
"""Trees that are looked at where only those count whose contributions are inline."""
MOST_CANDIDATES = 2_000
"""How many of the best trees are examined to find one that keeps within a limit."""
_UNLIMITED = 2**60


@dataclass(frozen=True, slots=True)
class Remaining:
    """What remains of a job: its steps, and the seconds and dollars that its limits allow for them (None: no limit)."""

    steps: int | None = None
    """None where the number is not known."""
    seconds: float | None = None
    dollars: float | None = None

    def allows(self, one: Candidate) -> bool:
        """Whether all remaining steps, merged by this tree, keep within the limits."""
        steps, said = self.steps or 0, one.prediction
        return all(
            limit is None or steps * value <= limit
            for value, limit in ((said.seconds, self.seconds), (said.dollars, self.dollars))
        )


def objective_of(job: TrainingJob) -> Objective:
    """The quantity that the planner minimises for a job."""
    return "dollars" if job.spec.limits.goal == "LeastCost" else "seconds"


def within_limits(
    job: TrainingJob, steps: int | None, *, seconds: float = 0.0, dollars: float = 0.0
) -> Remaining:
    """What `limits` leave for `steps` more steps, once `seconds` and `dollars` are spent.

    Only the limit that belongs to the goal counts: the deadline for least cost, the budget for least time.
    """
    limits = job.spec.limits
    deadline = limits.deadline_seconds if limits.goal == "LeastCost" else None
    budget = limits.budget_usd if limits.goal == "LeastTime" else None
    return Remaining(
        steps,
        None if deadline is None else deadline - seconds,
        None if budget is None else budget - dollars,
    )


def memory_limited(job: TrainingJob, work: Work) -> Work:
    """The work with the memory limits that restrict the choice: none where functions are given more when they run out
    of it (`growOnOom`)."""
    if not job.spec.memory.grow_on_oom:
        return work
    return replace(work, worker_memory=_UNLIMITED, merger_memory=_UNLIMITED)


def candidates(
    job: TrainingJob, work: Work, constants: Constants, size: Size, by: Objective
) -> Iterator[Candidate]:
    """The trees that the job may run, best first; a structure or shard count that it names is kept.

    Raises SpecError if a merger has too little memory whatever the shard count.
    """
    merge, price = job.spec.merge, job.price
    if not job.planned:
        return iter([search.candidate(work, constants, price, job.structure, job.shards)])
    tree = None if merge.structure is None else tuple(merge.structure)
    if job.fixed_shards is not None:
        shards = [job.fixed_shards]
    else:
        shards = search.feasible_shards(memory_limited(job, work), most_shards(size))
    # A level may have no more mergers than can be at work at once, unless the job itself or memory demands it.
    least = min(shards) * (1 if tree is None else max(tree[:-1]))
    most = max(job.instances["worker" if merge.reuse_workers else "merger"], least)
    if tree is None:
        ranking = search.ranked(work, constants, price, shards=shards, objective=by)
    else:
        own = [search.candidate(work, constants, price, tree, number) for number in shards]
        ranking = iter(sorted(own, key=lambda one: (figure(one, by), one.shards)))
    narrow = (one for one in ranking if one.shards * max(one.structure[:-1]) <= most)
    return _inline(narrow, work) if merge.channel == "Inline" else narrow


def _inline(ranking: Iterator[Candidate], work: Work) -> Iterator[Candidate]:
    """Those trees whose contributions are all small enough. Raises SpecError where there is none."""
    examined = list(islice(ranking, _MOST_INLINE))
    why = [misfit(one.structure, one.shards, work.total, work.request_bytes) for one in examined]
    fitting = [one for one, problem in zip(examined, why, strict=True) if problem is None]
    if not fitting:
        raise SpecError([("spec.merge.channel", problem) for problem in why[:1] if problem is not None])
    return iter(fitting)


def choose(job: TrainingJob, work: Work, constants: Constants, size: Size, remaining: Remaining) -> Candidate:
    """The tree and shard count that the job is to run.

    Raises SpecError if a merger has too little memory whatever the shard count.
    """
    by = objective_of(job)
    ranking = candidates(job, work, constants, size, by)
    if remaining.seconds is None and remaining.dollars is None:
        return next(ranking)
    for one in islice(ranking, MOST_CANDIDATES):
        if remaining.allows(one):
            return one
    other: Objective = "seconds" if by == "dollars" else "dollars"
    return next(candidates(job, work, constants, size, other))


def figure(one: Candidate, by: Objective) -> float:
    """What a step takes with a tree, in seconds or dollars."""
    return one.prediction.seconds if by == "seconds" else one.prediction.dollars
