"""The preparation of raw data on this machine: its functions are local processes, as those that train."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias

from sapflow.client.session import Session, local_functions
from sapflow.data.cut import settle_files
from sapflow.data.shared_data import finder
from sapflow.data.source_files import data_files
from sapflow.driver import preparation
from sapflow.driver.deadline import Deadline, DeadlineReached, within
from sapflow.driver.early_account import EarlyAccount
from sapflow.driver.preparation import PreparedData
from sapflow.errors import JobFailed
from sapflow.messages.documents import Document
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Account, Records
from sapflow.runtimes.embedded.runtime import available_cores as available_cores
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.observer import Observer, PreparedSoFar

Run: TypeAlias = Callable[[Coroutine[Any, Any, PreparedData]], PreparedData]
"""Runs a coroutine to its end, as `asyncio.run` does."""


class Shown(Protocol):
    """Shows how far a preparation is."""

    def stage(self, text: str) -> None: ...

    def prepared(self, position: PreparedSoFar) -> None: ...

    def preparation_forecast(self, said: Mapping[str, Any]) -> None: ...


async def within_deadline(
    resolved: ResolvedJob,
    store: Store,
    url: str,
    environ: Mapping[str, str],
    shown: Shown,
    *,
    max_instances: int | None = None,
) -> PreparedData:
    """Have local functions make blocks of the job's raw data within spec.limits. `url` is the store's.

    The account that this returns is the job's so far, earlier runs of it that did not come to a version among them.
    Raises JobFailed, also at the deadline and where the budget is spent, DataError, StoreError, InputsChanged.
    """
    limits, clock = resolved.job.spec.limits, asyncio.get_running_loop().time
    records = Records(store, resolved.prefix)
    deadline, kept = Deadline(records, limits.deadline_seconds, None), EarlyAccount(records)
    known, started = await deadline.account(await kept.read()), clock()
    deadline.start(lambda: known.seconds + clock() - started)
    try:
        async with _functions(resolved, url, environ, max_instances) as sender:
            work = by_functions(
                resolved,
                store,
                sender,
                shown,
                account=known,
                budget=limits.budget_usd,
                kept=kept,
                recorded=True,
            )
            return await within(deadline.left, work)
    except DeadlineReached as error:
        said = (
            f"spec.limits.deadlineSeconds ({limits.deadline_seconds}) is reached before the data was prepared; raise "
            "it, and the same run goes on from there"
        )
        failure = JobFailed(said, reason=error.reason, version=-1)
        await records.fail(failure, failure.version)
        raise failure from error
    finally:
        await deadline.stop()


async def alone(
    resolved: ResolvedJob,
    store: Store,
    url: str,
    environ: Mapping[str, str],
    shown: Shown,
    *,
    max_instances: int | None = None,
) -> PreparedData:
    """The same for its own sake: no limit of the job bounds it, and nothing of it counts for the job."""
    async with _functions(resolved, url, environ, max_instances) as sender:
        return await by_functions(resolved, store, sender, shown, at_once=max_instances or available_cores())


async def by_functions(
    resolved: ResolvedJob,
    store: Store,
    sender: Sender,
    shown: Shown,
    *,
    spec: Document | None = None,
    at_once: int | None = None,
    account: Account | None = None,
    budget: float | None = None,
    kept: EarlyAccount | None = None,
    recorded: bool = False,
) -> PreparedData:
    """Have a sender's functions make blocks of the job's raw data, unless that is done. The arguments are those of
    `sapflow.driver.preparation.prepare`, which says what this raises; also InputsChanged."""
    shown.stage(f"preparing {resolved.job.spec.data.source}")
    if resolved.area is None:
        # What was prepared of other files is removed. A shared area is named by its files.
        files = await asyncio.to_thread(data_files, resolved.job.spec.data, finder(store.url))
        await asyncio.to_thread(settle_files, resolved, store, files)
    return await preparation.prepare(
        resolved,
        store,
        sender,
        _Told(shown),
        spec=spec,
        at_once=at_once,
        account=account,
        budget=budget,
        kept=kept,
        recorded=recorded,
    )


async def consumed(opened: Session) -> Account:
    """What earlier runs of a job have consumed before its first version. Raises StoreError."""
    return await EarlyAccount(Records(opened.store, opened.prefix)).read()


@asynccontextmanager
async def _functions(
    resolved: ResolvedJob, url: str, environ: Mapping[str, str], max_instances: int | None
) -> AsyncIterator[Sender]:
    runtime = local_functions(resolved.job, url, environ, max_instances)
    try:
        yield runtime
    finally:
        await asyncio.shield(runtime.close())


class _Told(Observer):
    """Passes on how far a preparation is."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown

    def prepared(self, position: PreparedSoFar) -> None:
        self._shown.prepared(position)

    def preparation_forecast(self, said: Mapping[str, Any]) -> None:
        self._shown.preparation_forecast(said)
