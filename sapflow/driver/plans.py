"""The plan of a job's merging: made once the model's size is known, and once more from measured steps.

A plan takes effect with the commit that names it. So a re-plan repeats no step, and a restarted driver finds it there.
"""

import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sapflow.errors import SpecError
from sapflow.messages.vectors import Sizes
from sapflow.planning import calibration, choice, data_load, workload
from sapflow.planning.calibration import LevelTime, Measurement
from sapflow.planning.constants import Constants
from sapflow.planning.cost_model import Work
from sapflow.planning.inline import REQUEST, inline_levels, misfit
from sapflow.planning.search import Candidate, candidate
from sapflow.planning.workload import Size
from sapflow.quantities.memory import MIB
from sapflow.records.commits import Commit, Forecast, Plan
from sapflow.records.typical import typical
from sapflow.spec.training_job import Runtime
from sapflow.steps.context import Context

SETTLING = 3
"""Number of steps after a driver's start that are not measured, because instances start and caches fill."""
WINDOW = 10
"""Number of warm steps that a re-plan is made from."""
BETTER = 0.9
"""A re-plan must predict at most this share of today's step time, or cost."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment that a driver's functions run in."""

    runtime: Runtime = "local"
    instances: int | None = None
    """Calls that can be at work at once; None means any number."""
    forward_flops: int | None = 0
    """Operations of the model's forward pass for one sample; None if unknown, and then nothing is forecast."""
    request_bytes: int = REQUEST
    """Bytes of contributions that one request may carry, at most."""
    images: Mapping[str, str] | None = None
    """The images of the functions by role, for commits; None if they are not known."""
    of_search: bool = False
    """Whether the job is a trial of a search. It keeps its first plan, because its bits must follow from its parameters
    and not from measured seconds; where the plan is given, it needs no forecast; and it exports no model, because the
    search exports one."""


class Planning:
    """Chooses the plans of a job."""

    def __init__(self, context: Context, environment: Environment) -> None:
        self._context, self._environment = context, environment
        self._job = context.job
        self._seen: deque[tuple[Commit, Commit]] = deque(maxlen=WINDOW)
        self._steps = 0
        self._settled = environment.of_search or not context.job.planned

    @property
    def runtime(self) -> Runtime:
        """The runtime of the job's functions."""
        return self._environment.runtime

    @property
    def wants_flops(self) -> bool:
        """Whether the model's arithmetic is still to be counted, without which nothing is forecast."""
        unknown = self._environment.forward_flops is None
        return unknown and (self._job.planned or not self._environment.of_search)

    def learn_flops(self, forward_flops: int | None) -> None:
        """Take in the arithmetic of a forward pass that version 0 came with, unless it is known."""
        if self.wants_flops:
            self._environment = replace(self._environment, forward_flops=forward_flops)

    def size(self, sizes: Sizes, slots: Sequence[str]) -> Size:
        """The model's size, as the cost model needs it."""
        at_root = len(slots) if self._context.facts.root_state else 0
        return Size(sizes.parameters, sizes.averaged, at_root, self._environment.forward_flops or 0)

    def first(self, size: Size) -> tuple[Plan, Forecast | None]:
        """The plan of a job that starts, and its forecast.

        Raises SpecError if mergers have too little memory whatever the shard count.
        """
        job = self._job
        if not self._context.facts.merged:
            return Plan(structure=job.structure, shards=1), None
        constants = self._before_measuring
        work = self._work(size, constants)
        steps = self._context.total_steps
        known = self._environment.forward_flops is not None
        remaining = choice.within_limits(job, steps if known else None)
        best = choice.choose(job, work, constants, size, remaining)
        return self._plan(best, size), _forecast(best, steps, constants.origin) if known else None

    def resume(self, first: Commit, last: Commit) -> None:
        """Continue a job that an earlier driver brought to `last`. A job is re-planned at most once in its life."""
        self._settled = self._settled or first.plan != last.plan

    def settle(self) -> None:
        """Stop measuring, because the plan has changed: measurements of another tree do not count, and there is no
        second re-plan."""
        self._settled = True
        self._seen.clear()

    def after(self, old: Commit, new: Commit, plan: Plan) -> tuple[Plan, Forecast] | None:
        """Take the step from `old` to `new` into account; return another plan if the measured steps favour it."""
        if self._settled:
            return None
        self._steps += 1
        if self._steps <= SETTLING or not self._typical(old, new):
            return None
        self._seen.append((old, new))
        if len(self._seen) < WINDOW:
            return None
        self._settled = True
        return self._better(new, plan)

    def _typical(self, old: Commit, new: Commit) -> bool:
        """Whether a step used a full batch and had no cold start, retry or hedge."""
        counts = ("cold_starts", "retries", "hedges")
        return new.measured.samples == self._context.full_samples and all(
            getattr(new.account, name) == getattr(old.account, name) for name in counts
        )

    def _better(self, last: Commit, plan: Plan) -> tuple[Plan, Forecast] | None:
        job, size = self._job, self.size(last.sizes, last.slots)
        usages = typical([new.measured.levels for _, new in self._seen])
        levels = [
            LevelTime(usage.calls, usage.seconds, usage.slowest, usage.phases, usage.child_latency)
            for usage in usages
        ]
        seconds = statistics.median(new.account.seconds - old.account.seconds for old, new in self._seen)
        start = self._before_measuring
        work = replace(
            self._work(size, start),
            compute_seconds=levels[0].compute_seconds,
            data_seconds=levels[0].data_seconds,
        )
        if last.measured.search is not None:
            work = replace(work, worker_memory=last.measured.search.size * MIB)
        step = Measurement(work, plan.structure, plan.shards, seconds, levels)
        constants = calibration.learn(step, start)
        steps = self._context.total_steps - last.version
        remaining = choice.within_limits(
            job, steps, seconds=last.account.seconds, dollars=last.account.cost_usd
        )
        own = candidate(work, constants, job.price, plan.structure, plan.shards)
        best = choice.choose(job, work, constants, size, remaining)
        if not self._worth_it(best, own, remaining):
            return None
        return self._plan(best, size), _forecast(best, steps, f"{WINDOW} of its own steps")

    def _worth_it(self, best: Candidate, own: Candidate, remaining: choice.Remaining) -> bool:
        """Whether `best` is a tenth better, and its gain repays new instances, or it alone keeps within the limits."""
        if remaining.allows(best) and not remaining.allows(own):
            return True
        by = choice.objective_of(self._job)
        if remaining.allows(own) > remaining.allows(best) or choice.figure(best, by) > BETTER * choice.figure(
            own, by
        ):
            return False
        more = _mergers(best) > _mergers(own)
        start = self._context.caller.slowest_start if more and by == "seconds" else 0.0
        return (remaining.steps or 0) * (choice.figure(own, by) - choice.figure(best, by)) > start

    @property
    def _before_measuring(self) -> Constants:
        return workload.constants_of(self._context.store.url, self._environment.runtime)

    def _work(self, size: Size, constants: Constants) -> Work:
        environment = self._environment
        return workload.work_of(
            self._job,
            size,
            constants,
            environment.runtime,
            environment.instances,
            environment.request_bytes,
            load=data_load.of(self._job, self._context.manifest),
        )

    def _plan(self, one: Candidate, size: Size) -> Plan:
        mergers = "worker" if self._job.spec.merge.reuse_workers else "merger"
        plan = {"structure": one.structure, "shards": one.shards, "mergers": mergers}
        return Plan.model_validate(plan | {"inline": self._inline(one, size)})

    def _inline(self, one: Candidate, size: Size) -> tuple[int, ...] | None:
        """The levels that are inline. Raises SpecError where all are asked for and do not fit."""
        merge, total = self._job.spec.merge, size.parameters + size.averaged
        if merge.channel == "Store" or self._job.spec.affinity is not None:
            return None
        most = self._environment.request_bytes
        if merge.channel == "Inline" and (why := misfit(one.structure, one.shards, total, most)):
            raise SpecError([("spec.merge.channel", why)])
        return inline_levels(one.structure, one.shards, total, most) or None


def _forecast(one: Candidate, steps: int, constants: str) -> Forecast:
    said = one.prediction
    return Forecast(
        seconds_per_step=said.seconds, dollars_per_step=said.dollars, steps=steps, constants=constants
    )


def _mergers(one: Candidate) -> int:
    return one.shards * max(one.structure[:-1])
