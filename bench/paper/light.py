"""Steps without arithmetic: driver, mergers and store are real, workers only read parameters and write contributions.

The same processes serve one job after the other, so that structures can alternate on warm functions.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from bench.idle_job import idle_job
from bench.idle_worker import PARAMETERS
from bench.stores import MinioPlace
from sapflow.client import session
from sapflow.driver import plans
from sapflow.driver.driver import Driver
from sapflow.driver.plans import Environment
from sapflow.objects import keys
from sapflow.quantities.roles import Role
from sapflow.quantities.structure import Structure
from sapflow.records.commits import Commit, Forecast, Plan
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.spec.training_job import Metadata, TrainingJob
from sapflow.steps.observer import Observer

STARTED_AT_ONCE = 16
"""Number of functions that start together; more would exceed their time limit on few cores."""
_ENVIRONMENT = Environment(instances=None)


@dataclass(frozen=True, slots=True)
class Tree:
    """A way to merge, which is measured."""

    structure: Structure
    shards: int = 1

    def __str__(self) -> str:
        cut = f" × {self.shards}" if self.shards > 1 else ""
        return f"{list(self.structure)}{cut}"


@dataclass
class Steps:
    """The measurements of a tree: seconds between commits, and the machine's load at each."""

    seconds: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    cold: int = 0
    hedges: int = 0
    trees: list[Tree] = field(default_factory=list)
    """The trees that were planned, in order."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def runtime(place: MinioPlace, parameters: int, environ: Mapping[str, str]) -> EmbeddedRuntime:
    """A runtime with real mergers and idle workers. All may be at work at once, because they mostly wait."""
    commands: dict[Role, list[str]] = {
        "worker": [sys.executable, "-m", "bench.idle_worker", "worker"],
        "merger": [sys.executable, "-m", "sapflow_functions.roles.merger"],
    }
    return EmbeddedRuntime(
        place.url,
        {**place.environ, PARAMETERS: str(parameters)},
        commands=commands,
        max_instances=1024,
        idle_seconds=7200,
        environ={**environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


class Light:
    """Functions for jobs with `parameters` values on `place`. Data and records that are not measured go to `direct`."""

    def __init__(
        self, direct: MinioPlace, place: MinioPlace, parameters: int, environ: Mapping[str, str]
    ) -> None:
        self._direct, self._parameters, self._environ = direct, parameters, dict(environ)
        self._store = place.open()
        self._number = 0
        self._runtime = runtime(place, parameters, environ)

    async def warm(self, workers: int, mergers: int) -> None:
        """Start the functions, a few at a time."""
        for count in range(STARTED_AT_ONCE, workers + STARTED_AT_ONCE, STARTED_AT_ONCE):
            here = min(count, workers)
            await self.run(Tree((1, max(1, min(here, mergers)), here)), 1)

    async def run(self, tree: Tree, steps: int) -> Steps:
        """Run a job with `steps` steps after its first one, which is not counted."""
        return await self._train(idle_job("light", tree.structure, steps + 1, shards=tree.shards))

    async def _train(self, job: TrainingJob) -> Steps:
        self._number += 1
        job = job.model_copy(update={"metadata": Metadata(name=f"{job.metadata.name}-{self._number}")})
        environ = {**self._environ, **self._direct.environ}
        with session.open_session(job, environ, store=self._direct.url, probe=False) as opened:
            manifest = await asyncio.to_thread(opened.cut_data)
            watch = _Watch()
            driver = Driver(
                opened.resolved, manifest, self._store, self._runtime, watch, environment=_ENVIRONMENT
            )
            await driver.run()
            await asyncio.to_thread(opened.store.delete_prefix, f"{keys.job(opened.uid)}")
        return watch.steps

    async def planned(self, workers: int) -> Tree:
        """The tree of a job that names none, after it has planned again from its own steps."""
        steps = plans.SETTLING + plans.WINDOW + 2
        total = await self._train(idle_job("planned", (1, workers), steps, merge={}))
        return total.trees[-1]

    async def measure(self, trees: Sequence[Tree], *, rounds: int, steps: int) -> dict[Tree, Steps]:
        """Measure all trees alternately, round after round."""
        found = {tree: Steps() for tree in trees}
        for number in range(rounds):
            for tree in trees if number % 2 == 0 else reversed(trees):
                taken = await self.run(tree, steps)
                total = found[tree]
                total.seconds += taken.seconds
                total.loads += taken.loads
                total.cold += taken.cold
                total.hedges += taken.hedges
                shown = ", ".join(f"{each:.2f}" for each in taken.seconds)
                print(
                    f"  {len(taken.seconds)} steps of {tree}: {shown} s; load {taken.loads[-1]:.1f}",
                    file=sys.stderr,
                    flush=True,
                )
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runtime.close()
        self._store.close()


class _Watch(Observer):
    """Records the seconds between commits from the second step on."""

    def __init__(self) -> None:
        self.steps = Steps()
        self._last = 0.0

    def planned(self, plan: Plan, forecast: Forecast | None) -> None:
        self.steps.trees.append(Tree(plan.structure, plan.shards))

    def committed(self, commit: Commit) -> None:
        now = time.perf_counter()
        if commit.version > 1:
            self.steps.seconds.append(now - self._last)
            self.steps.loads.append(os.getloadavg()[0])
        self.steps.cold, self.steps.hedges = commit.account.cold_starts, commit.account.hedges
        self._last = now
