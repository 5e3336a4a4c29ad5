"""Trains the trials of a search: each is a job below the search's prefix, and all share its functions and its data.

A trial is a `Driver` for as long as it advances, and nothing but objects in the store while it is paused. Whatever a
driver does is done once, however often it is asked for: so an action that has no answer yet may be carried out again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from sapflow.data import area, cut
from sapflow.data.manifest import Manifest
from sapflow.driver.driver import Driver
from sapflow.driver.outage import LOST_OBJECTS, Outage, through_outages
from sapflow.driver.pause import PAUSED, Pause
from sapflow.driver.plans import Environment
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
from sapflow.spec.training_job import Runtime, TrainingJob
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

_NOT_THE_TRIALS = frozenset(
    (
        "AlteredObject", "Busy", "CellLost", "Closed", "CorruptObject", "InputsChanged", "InvalidReply",
        "NotConfigured", "ObjectMissing", "OtherNumerics", "ShuttingDown", "StartFailed", "StoreFailed",
        "StoreUnavailable", "StoreUnsafe", "Unavailable",
    )
)  # fmt: skip
"""Reasons of failures that are no fault of a trial's parameters: they end the run of the search, which goes on where it
is run again."""


def _is_not_the_trials(error: JobFailed) -> bool:
    return isinstance(error, SearchBudgetSpent) or error.reason in _NOT_THE_TRIALS


@dataclass(frozen=True, slots=True)
class Pool:
    """What all trials of a search share."""

    prefix: str
    """The common beginning of the search's keys."""
    template: TrainingJob
    manifest: Manifest
    """Of the template's data, below the search's prefix."""
    store: Store
    sender: Sender
    environment: Environment = field(default_factory=Environment)
    grow: Callable[[], Awaitable[bool]] | None = None
    """Gives the functions more memory after one was killed for it; whether they got more. None: they cannot."""

    @property
    def runtime(self) -> Runtime:
        return self.environment.runtime


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
        self._grown = asyncio.Lock()
        self._growths = 0

    def resolved(self, trial: int, job: TrainingJob) -> ResolvedJob:
        """A trial as driver and functions read it.

        A parameter may also change what is cut, as the share that is held out. Such a trial has data of its own.
        """
        pool = self.pool
        prefix = keys.trial(pool.prefix, trial)
        shared = keys.data(pool.prefix) if area.cut_alike(job, pool.template) else None
        return ResolvedJob(job, prefix, pool.runtime, shared_data=shared)

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
                if _is_not_the_trials(error):
                    raise
                if error.reason == OutOfMemory.reason and await self._may_try_again(grown):
                    grown = self._growths
                    continue
                return await self._failed(action.trial, error)

    async def _advance(self, action: Advance) -> Report | Finished:
        job = self.job_of(action.parameters)
        resolved = self.resolved(action.trial, job)
        manifest = await self.manifest(resolved)
        cut.check_data(job, manifest)
        lengths = Lengths.of(job, Extent.of(job, manifest.train_samples))
        newest = NewestCommit()
        ended = await self._drive(action.trial, resolved, manifest, lengths.version(action.to), newest)
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
            samples = (await self.manifest(resolved)).train_samples
            await forks.begin(self.pool.store, resolved, source, action.version, samples)
        except (SpecError, DataError) as error:
            self._refused[action.trial] = error

    async def ask(self, action: Ask) -> Suggested | Failed:
        """Have a worker suggest the parameters of a trial. Raises as `advance` does."""
        job = self.pool.template
        request = AskRequest(
            job=keys.uid_of(keys.trial(self.pool.prefix, action.trial)),
            version=0,
            seconds_left=1,
            question=dict(action.question),
        )
        try:
            reply = await self.caller(action.trial, job).call("worker", request, AskReply)
        except JobFailed as error:
            if _is_not_the_trials(error):
                raise
            return Failed(action.trial, error.reason, str(error))
        return Suggested(action.trial, reply.parameters, reply.notes)

    def caller(self, trial: int, job: TrainingJob, *, limited: bool = True) -> Caller:
        """Calls for a trial beside those of its driver; `limited` ones count in the search's limits."""
        limits = job.spec.limits
        return Caller(
            self._sender(trial, job) if limited else self.pool.sender,
            seconds=limits.invocation_seconds,
            retries=limits.retries,
            price=job.price,
            cpus=job.cpus,
            memory=job.memory_bytes,
            observer=Observer(),
            account=Account(),
        )

    def _sender(self, trial: int, job: TrainingJob) -> Sender:
        sender = self.pool.sender
        if self._calls is None:
            return sender
        return self._calls.sender(trial, sender, job.price, job.memory_bytes, job.cpus)

    async def stopped(self, trial: int) -> Stopped:
        """End a trial that is not at work for good: the objects of its last version are removed, unless others need
        them. What it has used."""
        prefix = keys.trial(self.pool.prefix, trial)
        records = Records(self.pool.store, prefix)
        last = await records.last()
        if last is None:
            return Stopped(trial)
        needed = set()
        for version in self._pinned(trial):
            if (commit := await records.commit(version)) is not None:
                needed.update(commit.objects(prefix))
        names = [name for name in last.objects(prefix) if name.startswith(prefix) and name not in needed]
        await asyncio.to_thread(self.pool.store.delete, names)
        return Stopped(trial, last.account.seconds, last.account.cost_usd)

    async def _drive(
        self,
        trial: int,
        resolved: ResolvedJob,
        manifest: Manifest,
        until: int | None,
        newest: NewestCommit,
    ) -> dict[str, Any] | Pause:
        """One driver after the other, while the store may yet find what it has lost."""
        pool, outage = self.pool, Outage(LOST_OBJECTS, asyncio.get_running_loop().time)
        observer = Observers(outage, newest, self._observer_of(trial, resolved.job))

        async def drive(stopped: str | None) -> dict[str, Any] | Pause:
            driver = Driver(
                resolved,
                manifest,
                pool.store,
                self._sender(trial, resolved.job),
                observer,
                environment=pool.environment,
                stopped=stopped,
                pinned=self._pinned(trial),
            )
            return await driver.run_until(until)

        before = PAUSED if trial in self._paused else None
        self._paused.discard(trial)
        return await through_outages(outage, Records(pool.store, resolved.prefix), drive, stopped=before)

    async def manifest(self, resolved: ResolvedJob) -> Manifest:
        """The manifest of a trial's data, which is cut for the trial where the search's is another."""
        if resolved.shared_data is not None:
            return self.pool.manifest
        await asyncio.to_thread(cut.write_spec, resolved, self.pool.store)
        return await asyncio.to_thread(cut.cut, resolved, self.pool.store)

    async def _may_try_again(self, growths: int) -> bool:
        """Whether the functions have more memory than when a trial was killed for it, or get more now.

        Of trials that are killed at the same time only the first lets the pool grow, and it grows once.
        """
        async with self._grown:
            if self._growths > growths:
                return True
            if self._growths or self.pool.grow is None or not await self.pool.grow():
                return False
            self._growths += 1
            return True

    async def _failed(self, trial: int, error: SapflowError) -> Failed:
        account = await self._account(trial)
        return Failed(trial, error.reason, str(error), account.seconds, account.cost_usd)

    async def _account(self, trial: int) -> Account:
        """What a trial has used, as far as its commits say it."""
        last = await Records(self.pool.store, keys.trial(self.pool.prefix, trial)).last()
        return Account() if last is None else last.account
