"""`status.progress`: what kubectl shows of a running job, reported by its driver.

Server-side apply with a field manager of its own, so that operator and driver never undo each other. A report that
fails is made again later: an API server that is away stops no training.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sapflow import logs
from sapflow.errors import SapflowError
from sapflow.kube.access import ServiceAccount
from sapflow.kube.client import ApiClient, Patience
from sapflow.kube.errors import ClusterError
from sapflow.kube.paths import Kind
from sapflow.monitoring.progress import Progress
from sapflow.planning.extent import Extent
from sapflow.quantities.memory import MIB, format_quantity
from sapflow.records.commits import Account, Commit, Forecast, Plan
from sapflow.records.evaluations import held_out
from sapflow.records.memory_search import SizeSearch
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.observer import Observer
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
        try:
            found = await self._client.read(self._path)
        except ClusterError as error:
            logs.event(logger, logging.WARNING, "progress not read", message=str(error))
            return False
        progress = found.get("status", {}).get("progress", {})
        ours = found["metadata"]["uid"] == self._metadata["uid"]
        return ours and (progress.get("step", 0) > 0 or "checkpoint" in progress)

    async def close(self) -> None:
        await self._client.close()


class ProgressReporter(Observer):
    """Reports what a driver sees, at most once a second and once at the end. Use as an async context manager."""

    def __init__(self, job: TrainingJob, api: StatusApi, *, searches: bool = False) -> None:
        """`searches`: for the workers' best size. Then the size reported is the one wanted, and none before the
        store has told of it: the operator gives what is reported."""
        self._job, self._api, self._searches = job, api, searches
        self._search: SizeSearch | None = None
        self._progress: Progress | None = None
        self._account = Account()
        self._plan: Plan | None = None
        self._forecast: Forecast | None = None
        self._checkpoint: int | None = None
        self._outcome: dict[str, Any] | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._pause = LEAST_SECONDS

    async def __aenter__(self) -> "ProgressReporter":
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

    def begin(self, extent: Extent) -> None:
        """Take in the length of the job, once the data is cut."""
        self._progress = Progress(extent)
        self._changed.set()

    def resumed(self, commit: Commit) -> None:
        self.committed(commit)

    def planned(self, plan: Plan, forecast: Forecast | None) -> None:
        self._plan = plan
        if forecast is not None and self._forecast is None:
            self._forecast = forecast
        self._changed.set()

    def committed(self, commit: Commit) -> None:
        self._account = commit.account
        self._search = commit.measured.search if self._searches else None
        if self._progress is not None:
            self._progress.committed(commit, time.monotonic())
        self._changed.set()

    def evaluated(self, version: int, metrics: Mapping[str, float]) -> None:
        if self._progress is not None:
            self._progress.take_evaluation(version, metrics)
        self._changed.set()

    def checkpointed(self, version: int) -> None:
        self._checkpoint = version
        self._changed.set()

    def finished(self, outcome: dict[str, Any]) -> None:
        self._outcome = outcome
        self._account = Account.model_validate(outcome["account"])
        self._checkpoint = outcome["version"]
        self._changed.set()

    def fields(self) -> dict[str, Any]:
        """The current `status.progress`, without fields that are not known."""
        account = self._account
        found: dict[str, Any] = {
            "memory": self._memory(),
            "structure": None if self._plan is None else list(self._plan.structure),
            "shards": None if self._plan is None else self._plan.shards,
            "costUSD": _shown({"": account.cost_usd})[""],
            "invocations": account.invocations,
            "coldStarts": account.cold_starts,
            "retries": account.retries,
            "hedges": account.hedges,
            "checkpoint": self._checkpoint,
            "updated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        if self._forecast is not None:
            found |= {
                "forecastSeconds": _rounded(self._forecast.seconds, 3),
                "forecastCostUSD": round(self._forecast.dollars, 9),
            }
        if self._progress is not None:
            found |= _of_training(self._progress)
        if self._outcome is not None:
            found |= _of_outcome(self._outcome)
        return {name: value for name, value in found.items() if _can_be_said(value)}

    def _memory(self) -> dict[str, Any] | None:
        """The memory limits of functions, and the trials of the search for the workers' size."""
        search = self._search
        sizes = dict[str, Any](self._job.memory_sizes.items())
        if not self._searches:
            return sizes
        if search is None:
            return None
        trials = [
            {
                "worker": format_quantity(each.size * MIB),
                "step": each.step,
                "secondsPerStep": _rounded(each.seconds, 6),
                "costUSD": _rounded(each.cost_usd, 12),
            }
            for each in search.trials
        ]
        found = {**sizes, "worker": search.quantity, "searching": not search.done}
        return {**found, "trials": trials}

    async def _report_changes(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._api.apply(self.fields())
                self._pause = LEAST_SECONDS
            except NotReported as error:
                logs.event(logger, logging.WARNING, "progress not reported", message=str(error))
                self._pause = min(MOST_SECONDS, 2 * self._pause)
                self._changed.set()
            await asyncio.sleep(self._pause)

    async def _last_report(self) -> None:
        for attempt in range(_LAST_TRIES):
            try:
                await self._api.apply(self.fields())
                break
            except NotReported as error:
                logs.event(logger, logging.WARNING, "progress not reported", message=str(error))
            await asyncio.sleep(0.2 * 2**attempt)
        await self._api.close()


def _of_training(progress: Progress) -> dict[str, Any]:
    extent, commit = progress.extent, progress.commit
    found: dict[str, Any] = {
        "step": progress.done,
        "steps": extent.total,
        "percent": round(100 * progress.done / max(extent.total, 1), 1),
        "secondsPerStep": _rounded(progress.seconds_per_unit, 6),
        "estimatedSecondsLeft": _rounded(progress.seconds_left, 1),
    }
    if commit is not None:
        measured = commit.measured
        figures = _shown({"loss": measured.loss, "accuracy": measured.accuracy})
        found |= {"epoch": commit.cursor.epoch, **figures, "skippedSteps": commit.skips}
    if progress.evaluated is not None:
        found |= _shown(held_out(progress.evaluated[1]))
    return found


def _of_outcome(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """The final progress. The result may be of an earlier version than the last step."""
    figures = ("loss", "validationLoss", "validationAccuracy", "validationMetrics")
    found = _shown({name: outcome[name] for name in figures if name in outcome})
    if "forecast" in outcome:
        said = outcome["forecast"]
        found |= {
            "forecastSeconds": _rounded(said["seconds"], 3),
            "forecastCostUSD": round(said["costUSD"], 9),
            "forecastSecondsError": _rounded(said["secondsError"], 4),
            "forecastCostError": _rounded(said["costError"], 4),
        }
    return {**found, "percent": 100.0, "estimatedSecondsLeft": 0.0}


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _shown(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Losses and metrics as people read them, in a column of `kubectl get` too. The store has all their digits."""
    return {
        name: _shown(value)
        if isinstance(value, Mapping)
        else float(f"{value:.{FIGURES}g}")
        if isinstance(value, float)
        else value
        for name, value in figures.items()
    }


def _can_be_said(value: object) -> bool:
    """Whether the status may have this value: JSON has no numbers that are not finite, and the schema no null."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
