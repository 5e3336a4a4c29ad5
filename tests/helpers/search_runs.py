"""Whole searches on simulated functions in virtual time, by as many runners as it takes."""

import asyncio
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from helpers import virtual_loop
from helpers.away_store import AwayStore, Outage
from helpers.functions import Fault, Functions
from helpers.jobs import Place, document
from helpers.searches import search_job
from helpers.tapped_store import Killed, TappedStore, Write
from sapflow.data.manifest import Manifest
from sapflow.driver.plans import Environment
from sapflow.errors import InvocationError, JobFailed, StoreError, StoreUnavailable
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.records.memory_search import SearchSettings
from sapflow.runtimes.sender import Sender
from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.pool_sizes import PoolSizes
from sapflow.tuning.run import CutBy, SearchRun
from sapflow.tuning.runner import TuningObserver
from sapflow.tuning.search import Search

RATE = "spec.optimizer.learningRate"
TEMPLATE = {
    "algorithm_steps": 4,
    "evaluation_everySteps": 3,
    "workers": 2,
    "merge_structure": [1, 2],
}


def iris_search(**spec: Any) -> TuningJob:
    """A search for the learning rate of the tiny job: 6 trials, 3 at once, one in two goes on at steps 1 and 2."""
    fields: dict[str, Any] = {
        "template": {"spec": document(**TEMPLATE)["spec"]},
        "parameters": [{"path": RATE, "float": {"min": 0.01, "max": 1.0, "log": True}}],
        "objective": {"metric": "loss", "direction": "Minimize"},
        "search": {"name": "Random", "seed": 2},
        "prune": {"name": "ASHA", "first": 1, "factor": 2},
        "parallelTrials": 3,
        "maxTrials": 6,
        "maxWorkers": 8,
    }
    return search_job(**(fields | spec))


def runner_of(
    place: Place,
    job: TuningJob,
    sender: Sender,
    store: Store | None = None,
    observer: TuningObserver | None = None,
    data: Manifest | CutBy | None = None,
    sizes: SearchSettings | None = None,
    resized: Callable[[PoolSizes], None] = lambda sizes: None,
    forecasts: bool = False,
) -> SearchRun:
    """One run of a search at the place of its template."""
    environment = Environment(forward_flops=None, of_search=True)
    return SearchRun(
        job,
        replace(place.resolved, search=sizes),
        data or place.manifest,
        store or place.store,
        sender,
        environment,
        observer,
        resized=resized,
        forecasts=forecasts,
    )


@dataclass
class Searching:
    """One search run to its end."""

    place: Place
    job: TuningJob = field(default_factory=iris_search)
    faults: Mapping[int, Fault] = field(default_factory=dict)
    crashes: Sequence[tuple[int, bool]] = ()
    """The numbers of the runners' writes at which one dies: before them or (True) after."""
    outages: Sequence[Outage] = ()
    """When the store does not answer, to functions nor to runners: each ends a runner."""
    seed: int = 0
    hurry: float = 0.0
    """Chance that an invocation's time is up as soon as it starts."""
    forecasts: bool = False

    def __post_init__(self) -> None:
        self.store = AwayStore(self.place.store, self.outages)
        self.functions = Functions(self.store, self.seed, self.faults, self.hurry)
        self.runners = 0
        self._writes = itertools.count()
        self._crashes = dict(self.crashes)

    def run(self) -> tuple[Search, dict[str, Any]]:
        """The search as its last runner left it, and the outcome."""
        random.seed(self.seed)
        return virtual_loop.run(self._main(), expected=(Killed, InvocationError, StoreUnavailable))

    async def _main(self) -> tuple[Search, dict[str, Any]]:
        while (found := await self._one()) is None:
            pass
        # What is late is so late that the search is over.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)
        return found

    async def _one(self) -> tuple[Search, dict[str, Any]] | None:
        """One runner's life; None where it died."""
        self.runners += 1
        number = 0

        def failpoint(write: Write, after: bool) -> None:
            nonlocal number
            if not after:
                number = next(self._writes)
            if self._crashes.get(number) is after:
                del self._crashes[number]
                # Its process is gone with all its tasks.
                task.cancel()
                raise Killed

        store = TappedStore(self.store, failpoint)
        runner = runner_of(self.place, self.job, self.functions, store, forecasts=self.forecasts)
        task = asyncio.create_task(runner.run())
        await asyncio.wait({task})
        if store.dead:
            if not task.cancelled():
                task.exception()
            return None
        try:
            return runner.search, task.result()
        except (StoreError, JobFailed) as error:
            if error.reason != StoreUnavailable.reason:
                raise
            return None


def account_of(search: Search) -> list[tuple[Any, ...]]:
    """What a search has come to, trial by trial, without what was measured of its calls."""
    return [
        (
            trial.number,
            dict(trial.parameters),
            trial.phase,
            trial.at,
            trial.version,
            trial.values,
            trial.reason,
        )
        for trial in search.trials
    ]


def bits_of(place: Place, trials: int) -> dict[int, list[bytes]]:
    """The bytes of the last version of each trial, optimiser state included; none of those that were removed."""
    found: dict[int, list[bytes]] = {}
    for trial in range(trials):
        prefix = keys.trial(place.resolved.prefix, trial)
        last = asyncio.run(Records(place.store, prefix).last())
        names = [] if last is None else [key for key in last.objects(prefix) if place.store.exists(key)]
        found[trial] = [bytes(place.store.read(key)) for key in names]
    return found
