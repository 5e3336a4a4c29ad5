"""Forecasts a search: measures models, rehearses the corners, and plays the search."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import NormalDist

from sapflow.data.manifest import Manifest
from sapflow.errors import JobFailed, SpecError
from sapflow.quantities.prices import cost
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.actions import Parameters
from sapflow.tuning.calls import GRACE
from sapflow.tuning.forecast.corners import Corner, Corners
from sapflow.tuning.forecast.costs import Costs, Known
from sapflow.tuning.forecast.draws import drawn
from sapflow.tuning.forecast.estimates import MOST_DRAWN, Estimates, Measure
from sapflow.tuning.forecast.play import Candidate, Capacity
from sapflow.tuning.forecast.record import (
    CostGrowth,
    ForecastLimits,
    RehearsedCorner,
    SearchForecast,
)
from sapflow.tuning.forecast.rehearsal import Rehearsal, Rehearsed
from sapflow.tuning.forecast.spreads import UNCERTAINTY, spreads
from sapflow.tuning.forecast.work import Estimate, Place
from sapflow.tuning.settings import Limits, Settings
from sapflow.tuning.space import Space

DRAWN = 256
"""Sets of parameters of which the trials of a play are dealt."""
_SMALL_GRID = 1_024
"""Points of a grid that are all estimated."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What trials run on, and how it was rehearsed."""

    here: Place
    """Where the rehearsal runs."""
    elsewhere: Place | None = None
    """Where the search is to run, if that is another place."""
    cores: int | None = None
    """Cores that driver and functions share; None: each has its own."""
    cold: bool = True
    """Whether functions are still to be started when the search begins."""

    @property
    def there(self) -> Place:
        return self.elsewhere or self.here


@dataclass(frozen=True, slots=True)
class Used:
    """What a search has used of its limits before its first trial."""

    seconds: float = 0.0
    dollars: float = 0.0

    def left(self, limits: Limits) -> Limits:
        """The limits for what comes."""
        deadline, budget = limits.deadline_seconds, limits.budget_usd
        return replace(
            limits,
            deadline_seconds=None if deadline is None else max(0, deadline - round(self.seconds)),
            budget_usd=None if budget is None else max(0.0, budget - self.dollars),
        )


@dataclass(frozen=True, slots=True)
class _Pool:
    """Sets of parameters that were estimated."""

    first: Sequence[Corner]
    """Of the first trials: `initial`, or the points of a grid."""
    drawn: Sequence[Corner]
    refused: float
    refusal: SpecError | None


class Forecaster:
    """Makes the forecast of one search."""

    def __init__(
        self, job: TuningJob, manifest: Manifest, measure: Measure, stage: Stage, used: Used | None = None
    ) -> None:
        """`used` is what the search has used of its limits before."""
        self._job, self._stage, self._used = job, stage, used or Used()
        self._settings, self._limits = Settings.of(job), Limits.of(job)
        self._estimates = Estimates(job, manifest, stage.here, measure, stage.there.runtime)
        self._random = Random(f"{self._settings.seed}/sets")

    async def forecast(
        self, rehearsal: Rehearsal, tell: Callable[[str], None] = lambda text: None
    ) -> SearchForecast:
        """The forecast. `tell` is told of each stage.

        Raises SpecError where no trial can begin, JobFailed where a corner's steps fail, and StoreError.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        tell("estimating what trials take")
        pool = await self._pool()
        corners = Corners(self._settings.parameters, self._job.template.to_json(), self._estimates)
        cheapest, dearest = await corners.find([*pool.first, *pool.drawn])
        known: list[Known] = []
        for name, corner in (("cheapest", cheapest), ("dearest", dearest)):
            if known and corner.parameters == known[0].corner.parameters:
                known.append(known[0])
                continue
            tell(f"rehearsing two steps of the {name} trial")
            known.append(Known(corner, await self._rehearsed(rehearsal, name, corner)))
        costs = Costs(self._estimates, known[0], known[1], self._stage.elsewhere)
        tell("playing the search")
        return self._played(pool, costs, known, corners, clock() - began, rehearsal.dollars)

    async def _rehearsed(self, rehearsal: Rehearsal, name: str, corner: Corner) -> Rehearsed:
        try:
            return await rehearsal.steps_of(self._estimates.job_of(corner.parameters))
        except JobFailed as error:
            error.add_note(f"(in the rehearsal of the {name} trial, with {dict(corner.parameters)})")
            raise

    async def _pool(self) -> _Pool:
        """Estimate the sets that are sure to be tried, and some of all others."""
        settings = self._settings
        first: list[Parameters] = [
            drawn(settings.parameters, self._random, each) for each in settings.initial
        ]
        sets: list[Parameters] = []
        if settings.sampler == "Grid":
            if self._limits.max_trials <= _SMALL_GRID:
                first = [*Space(settings.parameters).points()[: self._limits.max_trials]]
            else:
                sets = [*self._random.sample(Space(settings.parameters).points(), DRAWN)]
        else:
            sets = [drawn(settings.parameters, self._random) for _ in range(DRAWN)]
        found = await self._estimates.of([*first, *sets], MOST_DRAWN)
        known = [
            Corner(parameters, each)
            for parameters, each in zip([*first, *sets], found, strict=True)
            if isinstance(each, Estimate)
        ]
        refusals = [each for each in found if isinstance(each, SpecError)]
        judged = len(known) + len(refusals)
        # Points of a grid that are known are dealt by chance where not all are: models may be too many.
        complete = len(known) >= len(first) and all(
            isinstance(each, Estimate) for each in found[: len(first)]
        )
        some = len(first) if complete else 0
        return _Pool(
            known[:some],
            known[some:] or known,
            len(refusals) / judged if judged else 0.0,
            next(iter(refusals), None),
        )

    def _played(
        self,
        pool: _Pool,
        costs: Costs,
        known: Sequence[Known],
        corners: Corners,
        seconds: float,
        spent: float,
    ) -> SearchForecast:
        limits, job = self._limits, self._job
        first, others = (
            [Candidate(each.parameters, costs.of(each.parameters, each.estimate)) for each in some]
            for some in (pool.first, pool.drawn)
        )
        first, others = _ranked(first, others)
        capacity = self._capacity(known)

        def dealer(random: Random) -> Callable[[int], Candidate]:
            return lambda number: first[number] if number < len(first) else random.choice(others)

        disagreement = max(each.rehearsed.disagreement for each in known) / 2
        uncertainty = (UNCERTAINTY**2 + min(disagreement, 0.5) ** 2) ** 0.5
        found = spreads(self._settings, self._used.left(limits), dealer, capacity, uncertainty)
        elsewhere = self._stage.elsewhere
        return SearchForecast(
            seconds=found.seconds,
            cost_usd=found.dollars,
            trials=found.trials,
            ended_by=found.ended_by,
            draws=found.plays,
            played=found.played,
            calls=capacity.calls,
            limits=ForecastLimits.of(limits, job.spec.max_workers),
            cheapest=_described(known[0], costs),
            dearest=_described(known[1], costs),
            growth=[
                CostGrowth(path=each.path, cheapest=each.cheapest, dearest=each.dearest, factor=each.factor)
                for each in corners.growth
            ],
            refused=pool.refused,
            refusal=None if pool.refusal is None else str(pool.refusal),
            constants=None if elsewhere is None else elsewhere.constants.origin,
            seconds_before=self._used.seconds,
            cost_usd_before=self._used.dollars,
            rehearsal_seconds=seconds,
            rehearsal_cost_usd=spent,
        )

    def _capacity(self, known: Sequence[Known]) -> Capacity:
        job, there = self._job, self._stage.there
        template, most = job.template, job.spec.max_workers
        seconds = template.spec.limits.invocation_seconds + GRACE
        memory, cpus = template.memory_bytes, template.cpus
        start = max(each.rehearsed.start_seconds for each in known) if self._stage.cold else 0.0
        return Capacity(
            most if there.instances is None else min(most, there.instances),
            None if there.runtime == "kubernetes" else self._stage.cores,
            cost(template.price, memory["worker"], seconds, cpus["worker"]),
            start,
        )


def _ranked(
    first: Sequence[Candidate], others: Sequence[Candidate]
) -> tuple[list[Candidate], list[Candidate]]:
    """The candidates with their places among all of them."""
    every = [*first, *others]
    normal = NormalDist()
    order = sorted(range(len(every)), key=lambda index: every[index].cost.complete.dollars)
    for place, index in enumerate(order):
        every[index] = replace(every[index], rank=normal.inv_cdf((place + 0.5) / len(every)))
    return every[: len(first)], every[len(first) :]


def _described(known: Known, costs: Costs) -> RehearsedCorner:
    corner = known.corner
    found = costs.of(corner.parameters, corner.estimate)
    return RehearsedCorner(
        parameters=dict(corner.parameters),
        steps=corner.estimate.steps,
        seconds_per_step=found.step.seconds,
        dollars_per_step=found.step.dollars,
        estimated_seconds_per_step=corner.estimate.seconds,
        begin_seconds=found.begin.seconds,
        resume_seconds=found.resume.seconds,
        pause_seconds=found.pause.seconds,
        trial_seconds=found.complete.seconds,
        trial_dollars=found.complete.dollars,
    )
