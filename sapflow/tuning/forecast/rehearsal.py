"""Real steps of a trial, to see what it takes: two warm ones, and what comes before and after them.

The functions are started by a first trial of one step. A later one, whose functions are warm as most trials of a
search find them, makes two steps, pauses, and goes on for two more: the first after each start reads what the next one
finds in memory. All objects lie below the prefix of a rehearsal, none among the search's trials.
"""

import asyncio
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sapflow.data.area import CUT_BY
from sapflow.data.manifest import Manifest
from sapflow.driver.driver import Driver
from sapflow.driver.pause import Pause
from sapflow.driver.plans import Environment
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning.calibration import LevelTime
from sapflow.planning.extent import Extent
from sapflow.records.commits import Commit, Records
from sapflow.runtimes.sender import Answered, Sender
from sapflow.spec import field_paths
from sapflow.spec.document import parse
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import CLUSTER_ONLY, TrainingJob
from sapflow.steps.observer import Observer
from sapflow.tuning.forecast.expense import Expense

_TRIES = 3
"""Trials that may find another function cold, or new to what the first of a process loads."""
STEPS = 8
"""Of the rehearsed job, so that it never comes to its end."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a trial has taken."""

    steps: tuple[Expense, ...]
    """Its two warm steps."""
    begin: Expense
    resume: Expense
    pause: Expense
    compute_seconds: float | None
    """Of one worker in a warm step; None where the algorithm does not measure it."""
    start_seconds: float = 0.0
    """What starting functions has taken, where they were cold."""

    @property
    def step(self) -> Expense:
        return Expense.mean(*self.steps)

    @property
    def disagreement(self) -> float:
        """How far the two warm steps lie apart, as a share of their mean."""
        seconds = [each.seconds for each in self.steps]
        return (max(seconds) - min(seconds)) / statistics.mean(seconds)


@dataclass(frozen=True, slots=True)
class _Mark:
    done: int
    """Units of progress."""
    used: Expense
    compute_seconds: float | None


@dataclass(eq=False)
class _Marks(Observer):
    """What one driver has taken, at its start and at each commit."""

    extent: Extent
    earlier: float
    """Dollars of the trial's earlier drivers."""
    clock: Callable[[], float] = field(default_factory=lambda: asyncio.get_running_loop().time)
    cpu: Callable[[], float] = time.process_time
    marks: list[_Mark] = field(default_factory=list)
    cold: bool = False
    calls: float = 0.0
    began: float = 0.0
    cpu_began: float = 0.0

    def __post_init__(self) -> None:
        self.began, self.cpu_began = self.clock(), self.cpu()

    def answered(self, role: Any, op: str, answer: Answered[Any]) -> None:
        self.calls += answer.seconds
        self.cold = self.cold or answer.cold_seconds > 0

    def committed(self, commit: Commit) -> None:
        levels = commit.measured.levels
        compute = None
        if levels:
            workers = levels[0]
            compute = LevelTime(
                workers.calls, workers.seconds, workers.slowest, workers.phases
            ).compute_seconds
        used = self.used(commit.account.cost_usd)
        self.marks.append(_Mark(self.extent.done(commit), used, compute))

    def used(self, dollars: float) -> Expense:
        """From the driver's start until now, at which the trial has cost so much."""
        seconds, driver = self.clock() - self.began, self.cpu() - self.cpu_began
        return Expense(seconds, dollars - self.earlier, self.calls, driver)


class Rehearsal:
    """Rehearses trials of one search, one after the other."""

    def __init__(
        self,
        prefix: str,
        template: ResolvedJob,
        manifest: Manifest,
        store: Store,
        sender: Sender,
        environment: Environment,
    ) -> None:
        """`prefix` is that of all keys that are written; `template` and `manifest` are of the data, which is cut."""
        self.prefix, self._template, self._manifest = prefix, template, manifest
        self._store, self._sender, self._environment = store, sender, environment
        self._count = 0
        self._settled = False
        """Whether the functions have begun trials before: the first one in a process loads more."""
        self.dollars = 0.0
        """What all steps have cost."""

    async def steps_of(self, job: TrainingJob) -> Rehearsed:
        """Train a trial's job for a few steps. Raises JobFailed, SpecError, StoreError."""
        short = shortened(job, self._template)
        cold = await self._drive(self._next(short), 1)
        for tried in range(_TRIES):
            resolved = self._next(short)
            begun = await self._drive(resolved, 2)
            if not begun.marks.cold and (self._settled or tried):
                break
        self._settled = True
        resumed = await self._drive(resolved, 4, begun)
        units = begun.marks.extent.facts.units(short.spec.workers)
        steps = [each.warm_step(units) for each in (begun, resumed)]
        step = Expense.mean(*steps)
        pause = Expense.mean(begun.pause, resumed.pause)
        computing = [each.compute_seconds for each in (begun, resumed)]
        known = [each for each in computing if each is not None]
        start = 0.0
        if cold.marks.cold:
            start = max(0.0, cold.total.seconds - begun.first(units).seconds - pause.seconds)
        return Rehearsed(
            tuple(steps),
            begin=begun.first(units) - step,
            resume=resumed.first(units) - step,
            pause=pause,
            compute_seconds=statistics.mean(known) if known else None,
            start_seconds=start,
        )

    async def clear(self) -> None:
        """Remove what this rehearsal has written, and one before it that was interrupted. The last trial goes first, so
        that those that are left are numbered without a gap. Raises StoreError."""
        count = 0
        while await asyncio.to_thread(self._store.exists, keys.spec(keys.trial(self.prefix, count))):
            count += 1
        for number in reversed(range(count)):
            await self._remove(keys.trial(self.prefix, number))
        self._count = 0

    async def _remove(self, prefix: str) -> None:
        records = Records(self._store, prefix)
        last = await records.last()
        versions = [] if last is None else range(last.version + 1)
        names = [keys.result(prefix, "outcome.json"), keys.metrics(prefix, 0)]
        for version in versions:
            names += [keys.evaluation(prefix, version), keys.failure(prefix, version)]
            if (commit := await records.commit(version)) is not None:
                names += [*commit.objects(prefix), keys.plan(prefix, commit.plan)]
        commits = [keys.commit(prefix, version) for version in reversed(versions)]
        await asyncio.to_thread(self._store.delete, list(dict.fromkeys(names)))
        await asyncio.to_thread(self._store.delete, [*commits, keys.spec(prefix)])

    def _next(self, job: TrainingJob) -> ResolvedJob:
        prefix = keys.trial(self.prefix, self._count)
        self._count += 1
        template = self._template
        shared = template.data_prefix if template.area is None else None
        return ResolvedJob(job, prefix, template.runtime, shared_data=shared, area=template.area)

    async def _drive(self, resolved: ResolvedJob, steps: int, before: "_Driven | None" = None) -> "_Driven":
        """Train until so many steps are done."""
        extent = Extent.of(resolved.job, self._manifest.train_samples)
        marks = _Marks(extent, 0.0 if before is None else before.dollars)
        driver = Driver(
            resolved, self._manifest, self._store, self._sender, marks, environment=self._environment
        )
        until = steps * extent.facts.units(resolved.job.spec.workers)
        ended = await driver.run_until(until)
        dollars = ended.account.cost_usd if isinstance(ended, Pause) else float(ended["account"]["costUSD"])
        self.dollars += dollars - marks.earlier
        return _Driven(marks, marks.used(dollars), dollars)


@dataclass(frozen=True, slots=True)
class _Driven:
    """What a driver has done from its start to its pause."""

    marks: _Marks
    total: Expense
    dollars: float
    """The trial's so far."""

    @property
    def pause(self) -> Expense:
        """From the last commit on."""
        return self.total - self.marks.marks[-1].used

    def first(self, units: int) -> Expense:
        """From the start until the first step was done."""
        return self._first(units).used

    def warm_step(self, units: int) -> Expense:
        """A step after the first one; it has so many units of progress."""
        first, last = self._first(units), self.marks.marks[-1]
        return (last.used - first.used).times(units / max(1, last.done - first.done))

    @property
    def compute_seconds(self) -> float | None:
        return self.marks.marks[-1].compute_seconds

    def _first(self, units: int) -> _Mark:
        marks = self.marks.marks
        # The first mark of a new trial is version 0, of which no step is done; of one that goes on it is a step.
        before = 0 if marks[0].done == 0 else marks[0].done - 1
        return next((each for each in marks if each.done >= before + units), marks[-2])


def shortened(job: TrainingJob, template: ResolvedJob) -> TrainingJob:
    """The job of a few steps where the template runs, with its data as that is cut, and without evaluations on the
    way."""
    document, own = job.to_json(), template.job.to_json()["spec"]
    if template.runtime == "local":
        for path in CLUSTER_ONLY:
            document = field_paths.removed(document, path)
    spec = document["spec"]
    algorithm = {name: each for name, each in spec["algorithm"].items() if name != "epochs"}
    spec["algorithm"] = algorithm | {"steps": STEPS, "seed": own["algorithm"]["seed"]}
    cut = {name: each for name, each in own["data"].items() if name in CUT_BY}
    spec["data"] = {name: each for name, each in spec["data"].items() if name not in CUT_BY} | cut
    spec["evaluation"] = {**spec.get("evaluation", {}), "everySteps": 2 * STEPS * job.spec.workers}
    # A rehearsal is not ended by limits that are a whole trial's.
    ends = ("deadlineSeconds", "budgetUSD")
    spec["limits"] = {name: each for name, each in spec.get("limits", {}).items() if name not in ends}
    spec.pop("from", None)
    return parse(document, template.runtime)
