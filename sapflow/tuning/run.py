"""Runs a whole search, on whatever functions there are, and reads what one has come to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sapflow.data.manifest import Manifest
from sapflow.driver.deadline import Deadline, DeadlineReached, within
from sapflow.driver.plans import Environment
from sapflow.errors import JobFailed, SpecError
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning.workload import constants_of
from sapflow.records.commits import Account, Records
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.tuning_document import training_job
from sapflow.spec.tuning_job import TuningJob
from sapflow.steps.calls import Caller
from sapflow.tuning import result
from sapflow.tuning.account import SearchAccount
from sapflow.tuning.budget import Budget
from sapflow.tuning.calls import Calls, LimitedSender, SearchBudgetSpent
from sapflow.tuning.entries import End, Warm
from sapflow.tuning.forecast import of_run
from sapflow.tuning.forecast.forecaster import Forecaster, Stage, Used
from sapflow.tuning.forecast.record import ForecastLimits, SearchForecast, grade
from sapflow.tuning.forecast.rehearsal import Rehearsal
from sapflow.tuning.forecast.work import Place
from sapflow.tuning.log import Log
from sapflow.tuning.pool_resizing import PoolResizing
from sapflow.tuning.pool_sizes import PoolSizes
from sapflow.tuning.runner import Runner, TuningObserver
from sapflow.tuning.search import Results, Search
from sapflow.tuning.settings import Limits, Settings
from sapflow.tuning.state import State
from sapflow.tuning.trials import Growth, Pool, Trials, is_not_the_trials
from sapflow.tuning.usage import UsageMeter

EXPORTS = 2
"""Calls that export the model for which there is always enough: one may fail, or its driver may die."""
CutBy = Callable[[Sender], Awaitable[Manifest]]
"""Has a function cut the data, by a sender that keeps within the search's limits."""


class SearchRun:
    """One run of a search, from where its log stands. `run` may be called once."""

    def __init__(
        self,
        job: TuningJob,
        template: ResolvedJob,
        data: Manifest | CutBy,
        store: Store,
        sender: Sender,
        environment: Environment,
        observer: TuningObserver | None = None,
        grow: Callable[[float], Awaitable[Growth]] | None = None,
        *,
        ends: float | None = None,
        resized: Callable[[PoolSizes], None] = lambda sizes: None,
        forecasts: bool = False,
        cores: int | None = None,
    ) -> None:
        """`template` is the search's as a job, whose prefix is the search's, and `data` is that of all trials, or what
        cuts it by calls of the search's functions, which are the sender's. `grow` gives them more memory where one was
        killed for it (`Pool.grow`). `ends` is the time (`time.time()`) when the search must have ended, where more than
        its own running time counts. Where `template` searches for the workers' memory size, `resized` is told the one
        that they are to have. `forecasts`: before its first trial the search rehearses its cheapest and its dearest
        one, and records what it will take; `cores` are those that driver and functions share, None if each has its
        own."""
        limits, self._settings = Limits.of(job), Settings.of(job)
        self._job, self._template, self._data = job, template, data
        self._store, self._functions, self._environment = store, sender, environment
        self._observer, self._grow, self._resized = observer or TuningObserver(), grow, resized
        self._limits, self._forecasts, self._cores, self._ends = limits, forecasts, cores, ends
        self._records = Records(store, template.prefix)
        meter = UsageMeter(job.spec.max_workers)
        self.search = Search(store, template.prefix, self._settings, limits, meter)
        self.budget = Budget(limits.budget_usd)
        self.calls = Calls(
            job.spec.max_workers,
            self.budget,
            self.search.standing,
            self.search.grant,
            meter,
            self.search.spend,
        )
        if limits.budget_usd is not None:
            seconds = template.job.spec.limits.invocation_seconds
            self.calls.keep(lambda: EXPORTS * self._common_sender().worst("merger", seconds))
        self._account = SearchAccount(self.search, self.calls)
        self._deadline = Deadline(self._records, limits.deadline_seconds, ends, remembers=forecasts)
        self._runner: Runner | None = None
        self._deleted: list[int] = []

    @property
    def common_dollars(self) -> float:
        """What calls have cost that are no trial's, those that the log does not have yet among them."""
        return self.search.state.common + self.calls.common

    @property
    def seconds(self) -> float:
        """How long the search has run, by this run and earlier ones that recorded it; 0 until its log is read."""
        return 0.0 if self._runner is None else self._runner.seconds

    def delete(self, trial: int) -> None:
        """A user has deleted a trial: it is stopped, and the search goes on with the others."""
        if self._runner is None:
            self._deleted.append(trial)
        else:
            self._runner.delete(trial)

    async def run(self, warm: Results = ()) -> dict[str, Any]:
        """Run to the end; the outcome record. `warm` are the results of an earlier search.

        Raises JobFailed where the search has found nothing, or something else than a trial has failed, and StoreError.
        """
        data = self._data
        manifest = data if isinstance(data, Manifest) else await self._cut(data, warm)
        template, environment = self._template, self._environment
        trials = Trials(
            Pool(template, manifest, self._store, self._functions, environment, self._grow),
            lambda parameters: training_job(self._job, parameters, template.runtime),
            calls=self.calls,
            pinned=self.search.kept,
        )
        self._runner = runner = Runner(
            self.search, trials, self.calls, self._deadline, self._observer, lambda: self._forecast(trials)
        )
        for trial in self._deleted:
            runner.delete(trial)
        async with self._resizing(warm):
            end = await runner.run(warm)
        self.calls.keep(None)
        graded = await self._grade(end, runner.seconds)
        outcome = await result.write(self._settings, self.search, trials, end, self._account.settle, graded)
        self._observer.finished(outcome)
        return outcome

    async def _forecast(self, trials: Trials) -> None:
        """Tell the observer what the search was forecast to take; forecast it, if it is to begin now."""
        if not self._forecasts:
            return
        said = await of_run.recorded(self._records)
        if said is None and not self.search.trials and self.search.over is None:
            said = await self._rehearse(trials)
        if said is not None:
            self._observer.forecast(said)

    async def _rehearse(self, trials: Trials) -> SearchForecast | None:
        """Forecast the search, and record that. None where it cannot be, of which the observer is told.

        Raises JobFailed where something else than the trials fails, and StoreError.
        """
        pool, template, environment = trials.pool, self._template, self._environment
        sender, prefix = self._common_sender(), keys.rehearsal(self._template.prefix)
        rehearsal = Rehearsal(prefix, template, pool.manifest, self._store, sender, environment)
        here = Place(
            constants_of(self._store.url, environment.runtime), environment.runtime, environment.instances
        )
        measure = of_run.measure_by(
            Caller.of(template.job, sender), template, self._store, prefix, environment.runtime
        )
        stage = Stage(here, cores=self._cores, cold=False)
        used = Used(self.seconds, max(self.search.state.used, self.search.state.granted))
        forecaster = Forecaster(self._job, pool.manifest, measure, stage, used)
        await rehearsal.clear()
        try:
            said = await within(self._deadline.left, forecaster.forecast(rehearsal, self._observer.stage))
        except (SpecError, DeadlineReached, JobFailed) as error:
            budget = isinstance(error, SearchBudgetSpent)
            if isinstance(error, JobFailed) and is_not_the_trials(error) and not budget:
                raise
            self._observer.not_forecast(" ".join([str(error), *getattr(error, "__notes__", ())]))
            return None
        finally:
            await rehearsal.clear()
            await self._account.settle()
        return await of_run.record(self._records, said)

    async def _grade(self, end: End, seconds: float) -> dict[str, Any] | None:
        """The forecast beside what the search has taken; None if there is none."""
        said = await of_run.recorded(self._records) if self._forecasts else None
        if said is None:
            return None
        taken = seconds - said.rehearsal_seconds - said.seconds_before
        dollars = max(self.search.state.used, self.search.state.granted)
        dollars -= said.rehearsal_cost_usd + said.cost_usd_before
        limits = ForecastLimits.of(self._limits, self._job.spec.max_workers)
        found = grade(said, seconds=taken, dollars=dollars, ended_by=end.reason, limits=limits)
        return {**found, "measuredSeconds": taken, "measuredUSD": dollars}

    @asynccontextmanager
    async def _resizing(self, warm: Results) -> AsyncIterator[None]:
        """Let calls find the workers' best memory size meanwhile, if the template asks for it."""
        settings = self._template.search
        if settings is None:
            yield
            return
        await self.search.open(warm)
        workers = self._template.job.spec.workers
        resizing = PoolResizing(self.search, self.calls, settings, workers, self._resized)
        task = asyncio.create_task(resizing.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _cut(self, data: CutBy, warm: Results) -> Manifest:
        """Have the data cut. Its calls are among the search's, so what earlier drivers have used must be known, and its
        time is the search's. Raises JobFailed, also at the deadline."""
        await self.search.open(warm)
        self._account.take_over()
        clock = asyncio.get_running_loop().time
        known, started = await self._deadline.account(Account()), clock()
        self._deadline.start(lambda: known.seconds + clock() - started)
        try:
            # Where a search must have ended by a time of the day, who cuts its data keeps to that.
            left = self._deadline.left if self._ends is None else None
            return await within(left, data(self._common_sender()))
        except DeadlineReached as error:
            said = (
                f"spec.deadlineSeconds ({self._limits.deadline_seconds}) is reached before the data was cut"
            )
            remedy = "raise it, and the search goes on from there"
            raise JobFailed(f"{said}; {remedy}", reason=error.reason, version=-1) from error
        finally:
            await self._deadline.stop()
            await self._account.settle()

    def _common_sender(self) -> LimitedSender:
        """For calls that are no trial's."""
        job = self._template.job
        return self.calls.sender(0, self._functions, job.price, job.memory_bytes, job.cpus, common=True)


async def state_of(store: Store, prefix: str, job: TuningJob) -> State:
    """What a search's log says, without writing to it. Raises CorruptObject, StoreError."""
    state = State(Settings.of(job))
    for entry in await Log(store, prefix).read():
        if not isinstance(entry, Warm):
            state.apply(entry)
    return state
