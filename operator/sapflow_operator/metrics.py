"""The operator's metrics: every job's last progress, so that short and finished jobs are seen too."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sapflow_operator.conditions import SUCCEEDED
from sapflow_operator.observed import JobObject

_PROGRESS = {
    "step": ("sapflow_job_step", "Steps that the job has committed."),
    "steps": ("sapflow_job_steps", "Steps that the job takes to its end."),
    "loss": ("sapflow_job_loss", "Training loss of the last step reported."),
    "accuracy": ("sapflow_job_accuracy", "Training accuracy of the last step reported."),
    "validationAccuracy": ("sapflow_job_validation_accuracy", "Validation accuracy of the last evaluation."),
    "secondsPerStep": ("sapflow_job_step_seconds", "Seconds that a step takes."),
    "costUSD": ("sapflow_job_cost_usd", "What the job's invocations cost so far."),
}
_LABELS = ("namespace", "job")


class JobCollector(Collector):
    """Reads the jobs when it is scraped, and holds nothing."""

    def __init__(self, jobs: Callable[[], Iterable[JobObject]]) -> None:
        self._jobs = jobs

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = list(self._jobs())
        for field, (name, help) in _PROGRESS.items():
            family = GaugeMetricFamily(name, help, labels=_LABELS)
            for job in jobs:
                value = job.status.get("progress", {}).get(field)
                if value is not None:
                    family.add_metric([job.namespace, job.name], value)
            yield family
        by_reason = GaugeMetricFamily("sapflow_jobs", "Jobs by the reason of their state.", labels=["reason"])
        for reason, count in sorted(Counter(map(reason_of, jobs)).items()):
            by_reason.add_metric([reason], count)
        yield by_reason
        info = GaugeMetricFamily(
            "sapflow_job_state", "1 for each job, with its state.", labels=[*_LABELS, "succeeded", "reason"]
        )
        for job in jobs:
            info.add_metric([job.namespace, job.name, _succeeded(job)["status"], reason_of(job)], 1)
        yield info


def serve(port: int, jobs: Callable[[], Iterable[JobObject]]) -> None:
    """Serve /metrics from a thread of its own, as long as this process lives."""
    registry = CollectorRegistry()
    registry.register(JobCollector(jobs))
    start_http_server(port, registry=registry)


def reason_of(job: JobObject) -> str:
    return str(_succeeded(job)["reason"]) or "New"


def _succeeded(job: JobObject) -> dict[str, str]:
    for condition in job.status.get("conditions", ()):
        if condition["type"] == SUCCEEDED:
            return dict(condition)
    return {"status": "Unknown", "reason": ""}
