"""Runs a whole search, on whatever functions there are, and reads what one has come to."""

from collections.abc import Awaitable, Callable
from typing import Any

from sapflow.data.manifest import Manifest
from sapflow.driver.deadline import Deadline
from sapflow.driver.plans import Environment
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.runtimes.sender import Sender
from sapflow.spec.tuning_document import training_job
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning import result
from sapflow.tuning.budget import Budget
from sapflow.tuning.calls import Calls
from sapflow.tuning.entries import Warm
from sapflow.tuning.log import Log
from sapflow.tuning.runner import Runner, TuningObserver
from sapflow.tuning.search import Results, Search
from sapflow.tuning.settings import Limits, Settings
from sapflow.tuning.state import State
from sapflow.tuning.trials import Pool, Trials
from sapflow.tuning.usage import UsageMeter


class SearchRun:
    """One run of a search, from where its log stands. `run` may be called once."""

    def __init__(
        self,
        job: TuningJob,
        prefix: str,
        manifest: Manifest,
        store: Store,
        sender: Sender,
        environment: Environment,
        observer: TuningObserver | None = None,
        grow: Callable[[], Awaitable[bool]] | None = None,
        *,
        ends: float | None = None,
    ) -> None:
        """`manifest` is that of the template's data below `prefix`; the search's functions are the sender's. `grow`
        gives them more memory after one was killed for it, and says whether they got more. `ends` is the time
        (`time.time()`) when the search must have ended, where more than its own running time counts."""
        limits, self._settings = Limits.of(job), Settings.of(job)
        meter = UsageMeter(job.spec.max_workers)
        self.search = Search(store, prefix, self._settings, limits, meter)
        self.budget = Budget(limits.budget_usd)
        self.calls = Calls(job.spec.max_workers, self.budget, self.search.standing, self.search.grant, meter)
        self._trials = Trials(
            Pool(prefix, job.template, manifest, store, sender, environment, grow),
            lambda parameters: training_job(job, parameters, environment.runtime),
            calls=self.calls,
            pinned=self.search.kept,
        )
        deadline = Deadline(Records(store, prefix), limits.deadline_seconds, ends)
        self._runner = Runner(self.search, self._trials, self.calls, deadline, observer)

    def delete(self, trial: int) -> None:
        """A user has deleted a trial: it is stopped, and the search goes on with the others."""
        self._runner.delete(trial)

    async def run(self, warm: Results = ()) -> dict[str, Any]:
        """Run to the end; the outcome record. `warm` are the results of an earlier search.

        Raises JobFailed where the search has found nothing, or something else than a trial has failed, and StoreError.
        """
        end = await self._runner.run(warm)
        return await result.write(self._settings, self.search, self._trials, end)


async def state_of(store: Store, prefix: str, job: TuningJob) -> State:
    """What a search's log says, without writing to it. Raises CorruptObject, StoreError."""
    state = State(Settings.of(job))
    for entry in await Log(store, prefix).read():
        if not isinstance(entry, Warm):
            state.apply(entry)
    return state
