"""Runs a whole search, on whatever functions there are, and reads what one has come to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sapflow.data.manifest import Manifest
from sapflow.driver.deadline import Deadline
from sapflow.driver.plans import Environment
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.tuning_document import training_job
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning import result
from sapflow.tuning.account import SearchAccount
from sapflow.tuning.budget import Budget
from sapflow.tuning.calls import Calls, LimitedSender
from sapflow.tuning.entries import Warm
from sapflow.tuning.log import Log
from sapflow.tuning.pool_resizing import PoolResizing
from sapflow.tuning.pool_sizes import PoolSizes
from sapflow.tuning.runner import Runner, TuningObserver
from sapflow.tuning.search import Results, Search
from sapflow.tuning.settings import Limits, Settings
from sapflow.tuning.state import State
from sapflow.tuning.trials import Growth, Pool, Trials
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
    ) -> None:
        """`template` is the search's as a job, whose prefix is the search's, and `data` is that of all trials, or what
        cuts it by calls of the search's functions, which are the sender's. `grow` gives them more memory where one was
        killed for it (`Pool.grow`). `ends` is the time (`time.time()`) when the search must have ended, where more than
        its own running time counts. Where `template` searches for the workers' memory size, `resized` is told the one
        that they are to have."""
        limits, self._settings = Limits.of(job), Settings.of(job)
        self._job, self._template, self._data = job, template, data
        self._store, self._functions, self._environment = store, sender, environment
        self._observer, self._grow, self._resized = observer, grow, resized
        meter = UsageMeter(job.spec.max_workers)
        self.search = Search(store, template.prefix, self._settings, limits, meter)
        self.budget = Budget(limits.budget_usd)
        self.calls = Calls(job.spec.max_workers, self.budget, self.search.standing, self.search.grant, meter)
        if limits.budget_usd is not None:
            seconds = template.job.spec.limits.invocation_seconds
            self.calls.keep(lambda: EXPORTS * self._common_sender().worst("merger", seconds))
        self._account = SearchAccount(self.search, self.calls)
        self._deadline = Deadline(Records(store, template.prefix), limits.deadline_seconds, ends)
        self._runner: Runner | None = None
        self._deleted: list[int] = []

    @property
    def common_dollars(self) -> float:
        """What calls have cost that are no trial's, those that the log does not have yet among them."""
        return self.search.state.common + self.calls.common

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
        self._runner = Runner(self.search, trials, self.calls, self._deadline, self._observer)
        for trial in self._deleted:
            self._runner.delete(trial)
        async with self._resizing(warm):
            end = await self._runner.run(warm)
        self.calls.keep(None)
        return await result.write(self._settings, self.search, trials, end, self._account.settle)

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
        """Have the data cut. It is a call among the search's, so what earlier drivers have used must be known."""
        await self.search.open(warm)
        self._account.take_over()
        try:
            return await data(self._common_sender())
        finally:
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
