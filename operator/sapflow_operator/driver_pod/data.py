"""The first thing that a driver does, whatever it drives: the data is cut, while the store is probed."""

import asyncio
import time

from sapflow.driver import data_cut
from sapflow.driver.data_cut import CutData
from sapflow.driver.deadline import LEAST_SECONDS, DeadlineReached, within
from sapflow.errors import JobFailed
from sapflow.messages.documents import Document
from sapflow.objects.stores.protocol import Store
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.observer import Observer


async def cut_in_time(
    resolved: ResolvedJob,
    store: Store,
    sender: Sender,
    observer: Observer,
    *,
    begun: str,
    ends: float | None,
    limit: str,
    spec: Document | None = None,
    at_once: int | None = None,
) -> CutData:
    """Have a worker cut the job's data until the deadline `ends` (`time.time()`), which `limit` names in messages.

    The store is probed meanwhile unless it has the object `begun`, which an earlier driver has written; the first
    function starts all the same. `spec` and `at_once` as `cut_by_worker` has them.

    Raises JobFailed, StoreUnsafe, StoreError.
    """
    left = None if ends is None else max(ends - time.time(), LEAST_SECONDS)
    try:
        return await within(left, _cut(resolved, store, sender, observer, begun, spec, at_once))
    except DeadlineReached as error:
        said = f"{limit} is reached before the data was cut"
        raise JobFailed(said, reason=error.reason, version=-1) from error


async def _cut(
    resolved: ResolvedJob,
    store: Store,
    sender: Sender,
    observer: Observer,
    begun: str,
    spec: Document | None,
    at_once: int | None,
) -> CutData:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(_probe, store, resolved.prefix, begun))
            cut = group.create_task(
                data_cut.cut_by_worker(
                    resolved, store, sender, observer, begun=begun, spec=spec, at_once=at_once
                )
            )
    except ExceptionGroup as errors:
        # The first error has cancelled the other task.
        raise errors.exceptions[0] from None
    return cut.result()


def _probe(store: Store, prefix: str, begun: str) -> None:
    if not store.exists(begun):
        store.probe(prefix)
