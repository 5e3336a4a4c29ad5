"""Trains the trials of a search: each is a job below the search's prefix, and all share its functions and its data.

A trial is a `Driver` for as long as it advances, and nothing but objects in the store while it is paused. Whatever a
driver does is done once, however often it is asked for: so an action that has no answer yet may be carried out again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from sapflow.data import cut
from sapflow.data.manifest import Manifest
from sapflow.driver.driver import Driver
from sapflow.driver.outage import LOST_OBJECTS, Outage, through_outages
from sapflow.driver.pause import PAUSED, Pause
from sapflow.driver.plans import Environment
from sapflow.driver.sweep import sweep_away, sweep_failed
from sapflow.errors import DataError, JobFailed, OutOfMemory, SapflowError, SpecError
from sapflow.messages.replies import AskReply
from sapflow.messages.requests import AskRequest
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.planning.extent import Extent
from sapflow.records.commits import Account, Commit, Records
from sapflow.records.evaluations import of_held_out
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.calls import Caller
from sapflow.steps.observer import Observer, Observers
from sapflow.tuning import forks
from sapflow.tuning.actions import (
    Advance,
    Ask,
    Failed,
    Finished,
    Fork,
    Parameters,
    Report,
    Stopped,
    Suggested,
)
from sapflow.tuning.calls import Calls, SearchBudgetSpent
from sapflow.tuning.lengths import Lengths
from sapflow.tuning.pool_sizes import group_of

_NOT_THE_TRIALS = frozenset(
    (
        "AlteredObject", "Busy", "CellLost", "Closed", "CorruptObject", "InputsChanged", "InvalidReply",
        "LaterRelease", "NotConfigured", "ObjectMissing", "OtherNumerics", "ShuttingDown", "StartFailed", "StoreFailed",
        "StoreUnavailable", "StoreUnsafe", "Unavailable",
    )
)  # fmt: skip
"""Reasons of failures that are no fault of a trial's parameters: they end the run of the search, which goes on where it
is run again."""


_PERHAPS_KILLED = frozenset(
    ("InstanceLost", "InvocationFailed", "InvocationTimeout", OutOfMemory.reason, "Unavailable")
)
"""Reasons behind which a function may be that was killed for memory: a cluster does not tell its caller."""

Growth = Literal["Grown", "Refused", "NotKilled"]
"""Whether functions have more memory after one was killed for it, may have no more, or none was killed."""


def is_not_the_trials(error: JobFailed) -> bool:
    """Whether a failure ends the run of the search, and not a trial."""
    return isinstance(error, SearchBudgetSpent) or error.reason in _NOT_THE_TRIALS


def _killed(error: JobFailed) -> JobFailed:
    """The failure of a trial whose function was killed for memory, whatever its caller has seen of that."""
    if error.reason == OutOfMemory.reason:
        return error
    said = f"a function was killed for memory, and there is no more of it for this search. The driver saw: {error}"
    return JobFailed(said, reason=OutOfMemory.reason, version=error.version)


@dataclass(frozen=True, slots=True)
class Pool:
    """What all trials of a search share."""

    template: ResolvedJob
    """The job that all trials are but for their parameters. Its prefix is the search's, and its data is theirs, too."""
    manifest: Manifest
    store: Store
    sender: Sender
    environment: Environment = field(default_factory=Environment)
    grow: Callable[[float], Awaitable[Growth]] | None = None
    """Gives the functions more memory if one was killed for it, a moment before the time (of the event loop) of a call
    that failed. None: they keep what they have."""

    @property
    def prefix(self) -> str:
        """The common beginning of the search's keys."""
        return self.template.prefix


class NewestCommit(Observer):
    """Keeps the last commit that a driver has made or gone on from; None where its job had ended before."""

    commit: Commit | None = None

    def resumed(self, commit: Commit) -> None:
        self.commit = commit

    def committed(self, commit: Commit) -> None:
        self.commit = commit


class Trials:
    """Carries out what a search decides about its trials, any number of them at once."""

    def __init__(
        self,
        pool: Pool,
        job_of: Callable[[Parameters], TrainingJob],
        *,
        calls: Calls | None = None,
        pinned: Callable[[int], Collection[int]] = lambda trial: (),
        observer_of: Callable[[int, TrainingJob], Observer] = lambda trial, job: Observer(),
    ) -> None:
        """`job_of` makes a trial's job from its parameters; it raises SpecError if they fit no job. `calls` keeps their
        calls within the search's limits; None: there are none. `pinned` has the versions of a trial that must stay.
        `observer_of` is asked for at each `advance`."""
        self.pool, self.job_of, self._calls = pool, job_of, calls
        self._pinned, self._observer_of = pinned, observer_of
        self._paused: set[int] = set()
        self._refused: dict[int, SpecError | DataError] = {}
        """Forks that could not begin, and why."""
        self._growing = asyncio.Lock()
        self._growths = 0

    def resolved(self, trial: int, job: TrainingJob) -> ResolvedJob:
        """A trial as driver and functions read it. No parameter changes what is cut, so all trials have the search's
        data."""
        template, prefix = self.pool.template, keys.trial(self.pool.prefix, trial)
        shared = template.data_prefix if template.area is None else None
        return ResolvedJob(job, prefix, template.runtime, shared_data=shared, area=template.area)

    async def advance(self, action: Advance) -> Report | Finished | Failed:
        """Train a trial as far as it is asked for, from its beginning or from where it stands.

        Raises StoreError, and JobFailed where something else than the trial has failed.
        """
        if (refused := self._refused.pop(action.trial, None)) is not None:
            return Failed(action.trial, refused.reason, str(refused))
        grown = self._growths
        while True:
            try:
                return await self._advance(action)
            except (SpecError, DataError) as error:
                return Failed(action.trial, error.reason, str(error))
            except JobFailed as error:
                growth = await self._growth_after(error, grown)
                if growth == "Grown":
                    grown = self._growths
                    continue
                if growth == "Refused":
                    error = _killed(error)
                if is_not_the_trials(error):
                    raise error from None
                # Until its failure is in the log, the trial may have to fail again.
                resolved = self.resolved(action.trial, self.job_of(action.parameters))
                await sweep_failed(resolved, self.pool.store, self._pinned(action.trial))
                return await self._failed(action.trial, error)

    async def _advance(self, action: Advance) -> Report | Finished:
        job = self.job_of(action.parameters)
        resolved = self.resolved(action.trial, job)
        manifest = self.pool.manifest
        cut.check_data(job, manifest)
        lengths = Lengths.of(job, Extent.of(job, manifest.train_samples))
        newest, group = NewestCommit(), group_of(action.parameters)
        ended = await self._drive(action.trial, resolved, lengths.version(action.to), newest, group)
        if isinstance(ended, Pause):
            self._paused.add(action.trial)
            account = ended.account
            return Report(
                action.trial, action.to, ended.version, dict(ended.metrics), account.seconds, account.cost_usd
            )
        last = newest.commit or await Records(self.pool.store, resolved.prefix).last()
        return Finished(
            action.trial,
            of_held_out(ended),
            0 if last is None else lengths.units(last),
            int(ended["version"]),
            float(ended["account"]["seconds"]),
            float(ended["account"]["costUSD"]),
        )

    async def fork(self, action: Fork) -> None:
        """Let a trial begin at a version of another one. Where it cannot, its next `advance` has failed."""
        source = keys.trial(self.pool.prefix, action.source)
        try:
            resolved = self.resolved(action.trial, self.job_of(action.parameters))
            samples = self.pool.manifest.train_samples
            await forks.begin(self.pool.store, resolved, source, action.version, samples)
        except (SpecError, DataError) as error:
            self._refused[action.trial] = error

    async def ask(self, action: Ask) -> Suggested | Failed:
        """Have a worker suggest the parameters of a trial. Raises as `advance` does."""
        request = AskRequest(
            job=keys.uid_of(keys.trial(self.pool.prefix, action.trial)),
            version=0,
            seconds_left=1,
            question=dict(action.question),
        )
        try:
            reply = await self.common_caller(action.trial).call("worker", request, AskReply)
        except JobFailed as error:
            if is_not_the_trials(error):
                raise
            return Failed(action.trial, error.reason, str(error))
        return Suggested(action.trial, reply.parameters, reply.notes)

    def common_caller(self, trial: int) -> Caller:
        """Calls about a trial that are the search's own: what they cost is no trial's."""
        job = self.pool.template.job
        return Caller.of(job, self._sender(trial, job, common=True))

    def _sender(self, trial: int, job: TrainingJob, *, common: bool = False, group: str = "") -> Sender:
        sender = self.pool.sender
        if self._calls is None:
            return sender
        return self._calls.sender(
            trial, sender, job.price, job.memory_bytes, job.cpus, common=common, group=group
        )

    async def stopped(self, trial: int) -> Stopped:
        """End a trial that is not at work for good: the objects of its versions are removed, unless others need them.
        What it has used. Raises StoreError."""
        await sweep_away(keys.trial(self.pool.prefix, trial), self.pool.store, self._pinned(trial))
        account = await self._account(trial)
        return Stopped(trial, account.seconds, account.cost_usd)

    async def _drive(
        self,
        trial: int,
        resolved: ResolvedJob,
        until: int | None,
        newest: NewestCommit,
        group: str,
    ) -> dict[str, Any] | Pause:
        """One driver after the other, while the store may yet find what it has lost."""
        pool, outage = self.pool, Outage(LOST_OBJECTS, asyncio.get_running_loop().time)
        observer = Observers(outage, newest, self._observer_of(trial, resolved.job))

        async def drive(stopped: str | None) -> dict[str, Any] | Pause:
            driver = Driver(
                resolved,
                pool.manifest,
                pool.store,
                self._sender(trial, resolved.job, group=group),
                observer,
                environment=pool.environment,
                stopped=stopped,
                pinned=self._pinned(trial),
            )
            return await driver.run_until(until)

        before = PAUSED if trial in self._paused else None
        self._paused.discard(trial)
        return await through_outages(outage, Records(pool.store, resolved.prefix), drive, stopped=before)

    async def _growth_after(self, error: JobFailed, growths: int) -> Growth:
        """What has become of the functions' memory since a trial began that has failed: of trials whose functions are
        killed at the same time only the first lets the pool grow."""
        grow, failed = self.pool.grow, asyncio.get_running_loop().time()
        if grow is None or error.reason not in _PERHAPS_KILLED:
            return "NotKilled"
        async with self._growing:
            if self._growths > growths:
                return "Grown"
            growth = await grow(failed)
            self._growths += growth == "Grown"
            return growth

    async def _failed(self, trial: int, error: SapflowError) -> Failed:
        account = await self._account(trial)
        return Failed(trial, error.reason, str(error), account.seconds, account.cost_usd)

    async def _account(self, trial: int) -> Account:
        """What a trial has used, as far as its commits say it."""
        last = await Records(self.pool.store, keys.trial(self.pool.prefix, trial)).last()
        return Account() if last is None else last.account
