"""The preparation of raw data on this machine: its functions are local processes, as those that train."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeAlias

from sapflow.client.background import run_apart
from sapflow.client.session import local_functions
from sapflow.data.cut import settle_files
from sapflow.data.shared_data import finder
from sapflow.data.source_files import data_files
from sapflow.driver import preparation
from sapflow.driver.preparation import PreparedData
from sapflow.messages.documents import Document
from sapflow.objects.stores.protocol import Store
from sapflow.runtimes.embedded.runtime import available_cores as available_cores
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.observer import Observer, PreparedSoFar

Run: TypeAlias = Callable[[Coroutine[Any, Any, PreparedData]], PreparedData]
"""Runs a coroutine to its end, as `asyncio.run` does."""


def prepare(
    resolved: ResolvedJob,
    store: Store,
    url: str,
    environ: Mapping[str, str],
    tell: Callable[[PreparedSoFar], None],
    *,
    run: Run = run_apart,
    max_instances: int | None = None,
    at_once: int | None = None,
    spec: Document | None = None,
) -> PreparedData:
    """Have local functions make blocks of the job's raw data, unless that is done. `url` is that of the store.

    `at_once` and `spec` as `sapflow.driver.preparation.prepare` has them. Raises JobFailed, DataError, StoreError,
    InputsChanged.
    """
    if resolved.area is None:
        # What was prepared of other files is removed. A shared area is named by its files.
        settle_files(resolved, store, data_files(resolved.job.spec.data, finder(store.url)))
    return run(_on_local_functions(resolved, store, url, environ, tell, max_instances, at_once, spec))


async def _on_local_functions(
    resolved: ResolvedJob,
    store: Store,
    url: str,
    environ: Mapping[str, str],
    tell: Callable[[PreparedSoFar], None],
    max_instances: int | None,
    at_once: int | None,
    spec: Document | None,
) -> PreparedData:
    runtime = local_functions(resolved.job, url, environ, max_instances)
    try:
        return await preparation.prepare(resolved, store, runtime, _Told(tell), spec=spec, at_once=at_once)
    finally:
        await asyncio.shield(runtime.close())


class _Told(Observer):
    """Passes on how far a preparation is."""

    def __init__(self, tell: Callable[[PreparedSoFar], None]) -> None:
        self._tell = tell

    def prepared(self, position: PreparedSoFar) -> None:
        self._tell(position)
