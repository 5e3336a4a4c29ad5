"""Reports to `status.progress`, which is the driver's part of its resource's status.

Server-side apply with a field manager of its own, so that operator and driver never undo each other. A report that
fails is made again later: an API server that is away stops no training.
"""

import asyncio
import contextlib
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sapflow import logs
from sapflow.errors import SapflowError
from sapflow.kube.access import ServiceAccount
from sapflow.kube.client import ApiClient, Patience
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind
from sapflow.steps.observer import Observer, PreparedSoFar
from sapflow_operator import names
from sapflow_operator.names import Resource

logger = logging.getLogger("sapflow.progress")

LEAST_SECONDS = 1.0
"""Between two reports."""
MOST_SECONDS = 30.0
"""Between two reports to an API server that does not take them."""
_PATIENCE = Patience(seconds=10.0, tries=1)
"""A report that fails is made anew, with what is known by then."""
_LAST_TRIES = 3
FIGURES = 6
"""The significant digits of losses, metrics and costs."""


class NotReported(SapflowError):
    """The API server did not take a report."""

    reason = "NotReported"
    retryable = True


class StatusApi:
    """Applies and reads `status.progress` of one resource. To be used within one event loop, and closed there."""

    def __init__(
        self, url: str, account: Path, *, resource: Resource, namespace: str, name: str, uid: str
    ) -> None:
        """`url` of the API server; `account`: the folder with a service account's `token` and `ca.crt`.

        Raises OSError where they cannot be read.
        """
        self._kind = resource.kind
        self._path = Kind(names.API_VERSION, resource.plural).path(namespace, name, "status")
        self._metadata = {"name": name, "namespace": namespace, "uid": uid}
        self._client = ApiClient(ServiceAccount(url, account), _PATIENCE)

    async def apply(self, progress: Mapping[str, Any]) -> None:
        """Make `progress` the job's. Raises NotReported."""
        # The uid makes a report for a job of the same name, made after this one was deleted, a conflict.
        body = {
            "apiVersion": names.API_VERSION,
            "kind": self._kind,
            "metadata": self._metadata,
            "status": {"progress": progress},
        }
        try:
            await self._client.apply(self._path, body, names.DRIVER_MANAGER)
        except ClusterError as error:
            raise NotReported(str(error)) from error

    async def has_begun(self) -> bool:
        """Whether a driver has reported a step or a checkpoint of this very resource. False if this cannot be read."""
        progress = (await self.status()).get("progress", {})
        return progress.get("step", 0) > 0 or "checkpoint" in progress

    async def status(self) -> Mapping[str, Any]:
        """The status of this very resource; empty if it cannot be read."""
        found: Mapping[str, Any] = (await self._read()).get("status", {})
        return found

    async def is_suspended(self) -> bool:
        """Whether `spec.suspend` of this very resource is set. False if this cannot be read."""
        return bool((await self._read()).get("spec", {}).get("suspend"))

    async def _read(self) -> Mapping[str, Any]:
        """This very resource; empty if it cannot be read, or is another one of the name."""
        try:
            found = await self._client.read(self._path)
        except ClusterError as error:
            logs.event(logger, logging.WARNING, "status not read", message=str(error))
            return {}
        return found if found["metadata"]["uid"] == self._metadata["uid"] else {}

    async def close(self) -> None:
        await self._client.close()


class Reporter(ABC):
    """Reports `fields` once they have changed, at most once a second, and once at the end. An async context manager."""

    def __init__(self, api: StatusApi) -> None:
        self._api = api
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pause = LEAST_SECONDS

    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """The current `status.progress`, without fields that are not known."""

    @property
    def knows(self) -> bool:
        """Whether there is something to report. Until then the report of an earlier driver stands."""
        return True

    async def __aenter__(self) -> Self:
        self._changed.set()
        self._task = asyncio.create_task(self._report_changes())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        # This is shielded because the driver may be stopped again meanwhile, and the last report must be written.
        await asyncio.shield(self._last_report())

    async def _report_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self.knows:
                continue
            try:
                await self._api.apply(self.fields())
                self._pause = LEAST_SECONDS
            except NotReported as error:
                logs.event(logger, logging.WARNING, "progress not reported", message=str(error))
                self._pause = min(MOST_SECONDS, 2 * self._pause)
                self._changed.set()
            await asyncio.sleep(self._pause)

    async def _last_report(self) -> None:
        for attempt in range(_LAST_TRIES if self.knows else 0):
            try:
                await self._api.apply(self.fields())
                break
            except NotReported as error:
                logs.event(logger, logging.WARNING, "progress not reported", message=str(error))
            await asyncio.sleep(0.2 * 2**attempt)
        await self._api.close()


class PreparationReport(Observer):
    """How far the preparation of raw data is, as `status.progress` has it."""

    def __init__(self, changed: asyncio.Event) -> None:
        """`changed` is set whenever there is something new to report."""
        self._changed = changed
        self._position: PreparedSoFar | None = None
        self._said: Mapping[str, Any] = {}
        self._over = False

    def prepared(self, position: PreparedSoFar) -> None:
        self._position, self._over = position, False
        self._changed.set()

    def preparation_forecast(self, said: Mapping[str, Any]) -> None:
        self._said = said
        self._changed.set()

    def ends(self) -> None:
        """The data is prepared, or was found."""
        self._over = True
        self._changed.set()

    def fields(self) -> dict[str, Any] | None:
        """`status.progress.preparation`; None if nothing was prepared by this driver."""
        at = self._position
        if at is None:
            return None
        found: dict[str, Any] = {"rows": at.rows, "rejectedRows": at.bad, **forecast_fields(self._said)}
        if self._over:
            return found
        return found | {"stage": at.what, "partitions": at.partitions, "partitionsDone": at.done}


_FORECAST = {
    "seconds": "forecastSeconds",
    "secondsRange": "forecastSecondsRange",
    "secondsError": "forecastSecondsError",
    "secondsWithin": "forecastSecondsWithin",
    "costUSD": "forecastCostUSD",
    "costRange": "forecastCostRange",
    "costError": "forecastCostError",
    "costWithin": "forecastCostWithin",
}
"""Fields of an outcome's forecast with a spread, and what the status calls them."""


def forecast_fields(said: Mapping[str, Any]) -> dict[str, Any]:
    """What was forecast, and at the end how far it was off."""
    found: dict[str, Any] = {}
    for name, field in _FORECAST.items():
        value = said.get(name)
        if isinstance(value, list):
            found[field] = [rounded(each, 9) for each in value]
        elif isinstance(value, bool):
            found[field] = value
        elif value is not None:
            found[field] = rounded(value, 9)
    return found


def rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def shown(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Losses and metrics as people read them, in a column of `kubectl get` too. The store has all their digits."""
    return {
        name: shown(value)
        if isinstance(value, Mapping)
        else float(f"{value:.{FIGURES}g}")
        if isinstance(value, float)
        else value
        for name, value in figures.items()
    }


def can_be_said(value: object) -> bool:
    """Whether the status may have this value: JSON has no numbers that are not finite, and the schema no null."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
