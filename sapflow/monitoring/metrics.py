"""A job's Prometheus metrics, made from its driver's events. They use base units; docs/metrics.md lists them."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sapflow.errors import InvocationError
from sapflow.monitoring.progress import Progress
from sapflow.monitoring.series import (
    JOB,
    METRIC,
    PROGRESS,
    VALIDATION_METRIC,
    VALIDATION_METRIC_HELP,
    of_job,
)
from sapflow.planning.extent import Extent
from sapflow.quantities.roles import Role
from sapflow.records.commits import Account, Commit, Forecast, Plan
from sapflow.records.evaluations import held_out
from sapflow.runtimes.sender import Answered
from sapflow.spec.training_job import TrainingJob
from sapflow.steps.observer import Observer, PreparedSoFar

_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300,
)  # fmt: skip


@dataclass(frozen=True)
class _OfInvocations:
    """The series of one kind of invocation. Looking a series up by its labels takes longer than counting in it."""

    outcome: Callable[[str], Counter]
    phase: Callable[[str], Histogram]
    duration: Histogram
    read: Counter
    written: Counter
    data_read: Counter
    data_seconds: Counter


class MetricsObserver(Observer):
    """Counts the driver's events, and shows the job's progress."""

    def __init__(self, job: TrainingJob, registry: CollectorRegistry) -> None:
        self._name = job.metadata.name
        self._registry = registry
        self._progress: Progress | None = None
        self._counted = Account()
        self._peaks: dict[Role, int] = {}
        self._series: dict[tuple[Role, str], _OfInvocations] = {}
        of_invocation = ("role", "op")
        self._phases = self._histogram(
            "sapflow_phase_seconds", "Seconds of an invocation, by phase.", *of_invocation, "phase"
        )
        self._invocation_seconds = self._histogram(
            "sapflow_invocation_seconds",
            "Seconds that a function took for an invocation, its start left out.",
            *of_invocation,
        )
        self._step_seconds = self._histogram(
            "sapflow_step_seconds", "Seconds of a step, of its commit left out."
        )
        self._invocations = self._counter(
            "sapflow_invocations",
            "Invocations, by outcome: ok, or the reason of the error.",
            *of_invocation,
            "outcome",
        )
        self._read = self._counter("sapflow_read_bytes", "Bytes that functions read.", *of_invocation)
        self._written = self._counter("sapflow_written_bytes", "Bytes that functions wrote.", *of_invocation)
        self._data_read = self._counter(
            "sapflow_data_read_bytes", "Bytes of the data's blocks that functions read.", *of_invocation
        )
        self._data_seconds = self._counter(
            "sapflow_data_read_seconds",
            "Seconds that reads of the data's blocks took, waited for or not.",
            *of_invocation,
        )
        self._told = (0, 0)
        self._prepared_rows = self._counter(
            "sapflow_prepared_rows",
            "Rows of raw data that preparers have read, the rejected ones among them.",
        )
        self._rejected_rows = self._counter(
            "sapflow_rejected_rows",
            "Rows of raw data that gave no sample because something is wrong with them.",
        )
        self._cold_starts = self._counter(
            "sapflow_cold_starts", "Invocations that an instance was started for.", "role"
        )
        self._retries = self._counter("sapflow_retries", "Invocations that were repeated.")
        self._hedges = self._counter("sapflow_hedges", "Second invocations for stragglers.")
        self._commits = self._counter("sapflow_commits", "Versions committed.")
        self._skipped = self._counter(
            "sapflow_skipped_steps", "Steps that were not finite and were left out."
        )
        self._checkpoints = self._counter("sapflow_checkpoints", "Checkpoints written.")
        self._peak = self._gauge(
            "sapflow_memory_peak_bytes", "Largest resident memory seen of a function.", "role"
        )
        self._gauges = {
            name: self._gauge(of_job(name), text)
            for name, text in {
                **PROGRESS,
                "gradient_norm": "Norm of the last step's gradient.",
                "learning_rate": "Learning rate of the last step.",
                "forecast_seconds": "Seconds that were forecast for the steps, when the job was last planned.",
                "forecast_cost_dollars": "Dollars that were forecast for them.",
                "last_commit_timestamp_seconds": "When a version was last committed, or the driver began.",
            }.items()
        }
        self._metrics = self._gauge(of_job(VALIDATION_METRIC), VALIDATION_METRIC_HELP, METRIC)
        # A driver that never commits, perhaps because its first function never starts, must look stalled, too.
        self._set("last_commit_timestamp_seconds", time.time())
        self._limit = self._gauge("sapflow_memory_limit_bytes", "Memory limit of a function.", "role")
        for role, limit in job.memory_bytes.items():
            self._limit.labels(self._name, role).set(limit)
        self._gauge("sapflow_job_workers", "Workers of the job.").labels(self._name).set(job.spec.workers)
        # Counters start at 0, so that Prometheus sees the first of a rare event as an increase.
        for counter in (
            self._retries,
            self._hedges,
            self._commits,
            self._skipped,
            self._checkpoints,
            self._prepared_rows,
            self._rejected_rows,
        ):
            counter.labels(self._name)
        for role in job.memory_bytes:
            self._cold_starts.labels(self._name, role)

    def begin(self, extent: Extent) -> None:
        """Take in the length of the job, once the data is cut. It is called again after an outage."""
        self._progress = Progress(extent)
        self._set("steps", extent.total)
        self._set("step", 0)

    def prepared(self, position: PreparedSoFar) -> None:
        rows, bad = self._told
        self._prepared_rows.labels(self._name).inc(max(0, position.rows - rows))
        self._rejected_rows.labels(self._name).inc(max(0, position.bad - bad))
        self._told = position.rows, position.bad

    def resumed(self, commit: Commit) -> None:
        self._counted = commit.account
        self._show(commit)

    def planned(self, plan: Plan, forecast: Forecast | None) -> None:
        if forecast is not None:
            self._set("forecast_seconds", forecast.seconds)
            self._set("forecast_cost_dollars", forecast.dollars)

    def committed(self, commit: Commit) -> None:
        account, before = commit.account, self._counted
        self._retries.labels(self._name).inc(max(0, account.retries - before.retries))
        self._hedges.labels(self._name).inc(max(0, account.hedges - before.hedges))
        self._counted = account
        if commit.version:
            self._commits.labels(self._name).inc()
            self._step_seconds.labels(self._name).observe(commit.measured.seconds)
        if commit.skipped:
            self._skipped.labels(self._name).inc()
        self._set("last_commit_timestamp_seconds", time.time())
        self._show(commit)

    def _show(self, commit: Commit) -> None:
        measured = commit.measured
        for role, limits in measured.memory_limits.items():
            self._limit.labels(self._name, role).set(max(limits))
        self._set("loss", measured.loss)
        self._set("accuracy", measured.accuracy)
        self._set("gradient_norm", measured.gradient_norm)
        self._set("learning_rate", measured.learning_rate)
        self._set("epoch", commit.cursor.epoch)
        self._set("cost_dollars", commit.account.cost_usd)
        if self._progress is not None:
            self._progress.committed(commit, time.monotonic())
            self._set("step", self._progress.done)
            self._set("steps", self._progress.extent.total)
            self._set("seconds_per_step", self._progress.seconds_per_unit)

    def evaluated(self, version: int, metrics: Mapping[str, float]) -> None:
        if self._progress is None:
            return
        self._progress.take_evaluation(version, metrics)
        if self._progress.evaluated is not None and self._progress.evaluated[0] == version:
            self._held_out(held_out(metrics))

    def _held_out(self, body: Mapping[str, Any]) -> None:
        """Metrics on the held-out samples, as results name them."""
        self._set("validation_loss", body.get("validationLoss"))
        self._set("validation_accuracy", body.get("validationAccuracy"))
        for name, value in body.get("validationMetrics", {}).items():
            self._metrics.labels(self._name, name).set(value)

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        series = self._of(role, op)
        series.outcome("ok").inc()
        series.duration.observe(answer.seconds)
        series.phase("queue").observe(answer.queue_seconds)
        for phase, value in answer.reply.seconds.items():
            series.phase(phase).observe(value)
        if answer.cold_seconds:
            series.phase("cold_start").observe(answer.cold_seconds)
            self._cold_starts.labels(self._name, role).inc()
        series.read.inc(answer.reply.bytes.read)
        series.written.inc(answer.reply.bytes.written)
        if (data := answer.reply.data) is not None:
            series.data_read.inc(data.bytes)
            series.data_seconds.inc(data.seconds)
        if answer.reply.peak_memory_bytes > self._peaks.get(role, 0):
            self._peaks[role] = answer.reply.peak_memory_bytes
            self._peak.labels(self._name, role).set(self._peaks[role])

    def _of(self, role: Role, op: str) -> "_OfInvocations":
        found = self._series.get((role, op))
        if found is None:
            labels = (self._name, role, op)
            found = self._series[role, op] = _OfInvocations(
                outcome=cache(partial(self._invocations.labels, *labels)),
                phase=cache(partial(self._phases.labels, *labels)),
                duration=self._invocation_seconds.labels(*labels),
                read=self._read.labels(*labels),
                written=self._written.labels(*labels),
                data_read=self._data_read.labels(*labels),
                data_seconds=self._data_seconds.labels(*labels),
            )
        return found

    def invocation_failed(self, role: Role, op: str, error: InvocationError) -> None:
        self._of(role, op).outcome(error.reason).inc()

    def checkpointed(self, version: int) -> None:
        self._checkpoints.labels(self._name).inc()

    def finished(self, outcome: dict[str, Any]) -> None:
        self._held_out(outcome)
        self._set("cost_dollars", outcome["account"]["costUSD"])

    def _set(self, name: str, value: float | None) -> None:
        if value is not None and math.isfinite(value):
            self._gauges[name].labels(self._name).set(value)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, (JOB, *labels), registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, (JOB, *labels), registry=self._registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, (JOB, *labels), registry=self._registry, buckets=_SECONDS)
