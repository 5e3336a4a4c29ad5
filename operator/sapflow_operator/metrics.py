"""The operator's metrics: every job's last progress, so that short and finished jobs are visible, and its own work.

Its own work is measured in subclasses, so that controller and cluster do not depend on metrics.
"""

import asyncio
import time
from collections import Counter as Count
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

import sapflow
from sapflow.errors import SapflowError
from sapflow.monitoring.series import (
    JOB,
    METRIC,
    PROGRESS,
    SEARCH,
    VALIDATION_METRIC,
    VALIDATION_METRIC_HELP,
    of_job,
    of_search,
)
from sapflow_operator import names
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.conditions import SUCCEEDED
from sapflow_operator.controller import Controller
from sapflow_operator.kind import Kind
from sapflow_operator.kinds.registry import KINDS
from sapflow_operator.names import Resource
from sapflow_operator.observed import JobObject
from sapflow_operator.queue import Queue
from sapflow_operator.resource_controller import ResourceController
from sapflow_operator.search_metrics import SearchCollector
from sapflow_operator.service_metrics import ServiceCollector
from sapflow_operator.serving.controller import ServiceController
from sapflow_operator.settings import Settings

_FIELDS = {
    "step": "step",
    "steps": "steps",
    "epoch": "epoch",
    "loss": "loss",
    "accuracy": "accuracy",
    "validation_loss": "validationLoss",
    "validation_accuracy": "validationAccuracy",
    "seconds_per_step": "secondsPerStep",
    "cost_dollars": "costUSD",
}
"""The field of status.progress for each gauge."""
_LABELS = ("namespace", JOB)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ANSWERS = (404, 409)
"""Statuses that are no failures: an object does not exist, or has changed."""


class JobCollector(Collector):
    """Reads the jobs when it is scraped, and stores nothing."""

    def __init__(self, jobs: Callable[[], Iterable[JobObject]]) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[GaugeMetricFamily]:
        everything = list(self._jobs())
        # Two resources of different kinds may have one name, and a series may be there once.
        jobs = [job for job in everything if job.resource == names.TRAINING_JOB]
        searches = [job for job in everything if job.resource == names.TUNING_JOB]
        yield from SearchCollector(
            lambda: [(job.namespace, job.name, job.status.get("progress", {})) for job in searches]
        ).collect()
        yield _states(of_search("state"), "1 for each search, with its state.", SEARCH, searches)
        for name, help in PROGRESS.items():
            family = GaugeMetricFamily(of_job(name), help, labels=_LABELS)
            for job in jobs:
                value = job.status.get("progress", {}).get(_FIELDS[name])
                if value is not None:
                    family.add_metric([job.namespace, job.name], value)
            yield family
        family = GaugeMetricFamily(
            of_job(VALIDATION_METRIC), VALIDATION_METRIC_HELP, labels=[*_LABELS, METRIC]
        )
        for job in jobs:
            found = job.status.get("progress", {}).get("validationMetrics", {})
            for name, value in sorted(found.items()):
                family.add_metric([job.namespace, job.name, name], value)
        yield family
        by_reason = GaugeMetricFamily("sapflow_jobs", "Jobs by the reason of their state.", labels=["reason"])
        for reason, count in sorted(Count(map(reason_of, everything)).items()):
            by_reason.add_metric([reason], count)
        yield by_reason
        yield _states(of_job("state"), "1 for each job, with its state.", JOB, jobs)


class Instruments:
    """The instruments for the operator's own work."""

    def __init__(self, registry: CollectorRegistry) -> None:
        info = Gauge(
            "sapflow_operator_info", "1, with the operator's version.", ["version"], registry=registry
        )
        info.labels(sapflow.__version__).set(1)
        self._durations = Histogram(
            "sapflow_operator_reconcile_seconds",
            "Seconds of a reconciliation of a job, by outcome: ok, or the reason why it was not possible.",
            ["op", "outcome"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._failures = Counter(
            "sapflow_operator_api_failures",
            "Requests that the API server refused or left unanswered (status 0).",
            ["method", "status"],
            registry=registry,
        )
        self._credentials = Counter(
            "sapflow_operator_credentials",
            "Store credentials made for jobs, renewed ones included.",
            ["kind"],
            registry=registry,
        )

    async def timed(self, op: str, work: Awaitable[str]) -> str:
        """Measure work, with its outcome: its result, the reason of its error, or that it crashed."""
        began, outcome = time.monotonic(), "crashed"
        try:
            outcome = await work
        except SapflowError as error:
            outcome = error.reason
            raise
        finally:
            self._durations.labels(op, outcome).observe(time.monotonic() - began)
        return outcome

    def request_failed(self, method: str, status: int) -> None:
        self._failures.labels(method, str(status)).inc()

    def credentials_made(self, kind: str) -> None:
        self._credentials.labels(kind).inc()


class MeasuredCluster(Cluster):
    """Counts each failed try of a request, and the credentials that are written."""

    def __init__(self, instruments: Instruments) -> None:
        super().__init__(failed=self._request_failed)
        self._instruments = instruments

    async def create(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> None:
        await super().create(manifest, dry_run=dry_run)
        self._written(manifest, dry_run)

    async def change(self, manifest: Mapping[str, Any], uid: str, *, dry_run: bool = False) -> None:
        await super().change(manifest, uid, dry_run=dry_run)
        self._written(manifest, dry_run)

    def _written(self, manifest: Mapping[str, Any], dry_run: bool) -> None:
        kind = manifest["metadata"].get("annotations", {}).get(names.CREDENTIALS_KIND)
        if kind and not dry_run:
            self._instruments.credentials_made(kind)

    def _request_failed(self, method: str, status: int) -> None:
        if status not in _ANSWERS:
            self._instruments.request_failed(method, status)


class _Measured(ResourceController):
    """Measures reconciliations, including the wait for another reconciliation of the same job."""

    _instruments: Instruments

    async def reconcile(self, namespace: str, name: str, touch: asyncio.Task[None] | None = None) -> str:
        return await self._instruments.timed("reconcile", super().reconcile(namespace, name, touch))

    async def finalize(self, namespace: str, name: str) -> bool:
        return await self._instruments.timed("finalize", self._finalize(namespace, name)) == "ok"

    async def _finalize(self, namespace: str, name: str) -> str:
        return "ok" if await super().finalize(namespace, name) else "waits"


class MeasuredController(_Measured, Controller):
    """The controller of a kind that has a driver, measured."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        kind: Kind[Any],
        instruments: Instruments,
        queue: Queue | None = None,
        changed_result: Callable[[Resource, str, str], None] | None = None,
    ) -> None:
        super().__init__(settings, cluster, kind, queue, changed_result)
        self._instruments = instruments


class MeasuredServices(_Measured, ServiceController):
    """The controller of ModelServices, measured."""

    def __init__(self, settings: Settings, cluster: Cluster, instruments: Instruments) -> None:
        super().__init__(settings, cluster)
        self._instruments = instruments


def measured(settings: Settings, registry: CollectorRegistry) -> list[ResourceController]:
    """A controller for each kind, whose jobs, services and work are measured in the registry."""
    instruments = Instruments(registry)
    cluster, queue = MeasuredCluster(instruments), Queue(settings.max_running_jobs)
    services = MeasuredServices(settings, cluster, instruments)

    def changed_result(resource: Resource, namespace: str, name: str) -> None:
        services.source_changed(resource, namespace, name)
        for each in controllers:
            each.source_changed(resource, namespace, name)

    controllers = [
        MeasuredController(settings, cluster, kind, instruments, queue, changed_result) for kind in KINDS
    ]
    registry.register(JobCollector(lambda: [job for each in controllers for job in each.jobs]))
    registry.register(ServiceCollector(lambda: services.jobs))
    return [*controllers, services]


def _states(name: str, help: str, label: str, jobs: Iterable[JobObject]) -> GaugeMetricFamily:
    found = GaugeMetricFamily(name, help, labels=["namespace", label, "succeeded", "reason"])
    for job in jobs:
        found.add_metric([job.namespace, job.name, _succeeded(job)["status"], reason_of(job)], 1)
    return found


def reason_of(job: JobObject) -> str:
    return str(_succeeded(job)["reason"]) or "New"


def _succeeded(job: JobObject) -> dict[str, str]:
    for condition in job.status.get("conditions", ()):
        if condition["type"] == SUCCEEDED:
            return dict(condition)
    return {"status": "Unknown", "reason": ""}
