"""The driver's metrics, as Prometheus reads them over HTTP."""

import math
import urllib.request
from typing import Any

import pytest
from helpers.jobs import tiny_job
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from sapflow.errors import InstanceLost
from sapflow.messages.replies import TrainReply
from sapflow.messages.vectors import Sizes
from sapflow.monitoring import metrics_server
from sapflow.monitoring.metrics import MetricsObserver
from sapflow.planning.extent import Extent
from sapflow.records.commits import Account, Commit, Cursor, Forecast, Measured, Plan
from sapflow.runtimes.sender import Answered

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Scraped:
    """One scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        with metrics_server.serve(0, registry) as port:
            text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one sample with these labels; None where there is none."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name == name and sample.labels == {"training_job": "tiny", **labels}
        ]
        assert len(found) <= 1
        return found[0] if found else None


@pytest.fixture
def registry() -> CollectorRegistry:
    return metrics_server.make_registry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> MetricsObserver:
    observer = MetricsObserver(tiny_job(), registry)
    observer.begin(Extent.of(tiny_job(algorithm_steps=8), 120))
    return observer


def commit(version: int, **changes: Any) -> Commit:
    known = {
        "id": "id",
        "previous": "",
        "plan": "plan",
        "sizes": Sizes(parameters=1, averaged=0, block=1),
        "slots": [],
        "params": [],
        "optimizer": [],
    }
    return Commit.model_validate({"version": version, **known, **changes})


def answer(**fields: Any) -> Answered[TrainReply]:
    reply = TrainReply.model_validate({"done": True, **fields})
    return Answered(reply, seconds=0.2, cold_seconds=1.5, queue_seconds=0.01)


def test_an_invocation_is_counted_by_outcome_and_timed_by_phase(
    registry: CollectorRegistry, metrics: MetricsObserver
) -> None:
    seconds = {"read": 0.01, "compute": 0.15, "write": 0.02}
    metrics.answered(
        "worker",
        "train",
        answer(
            seconds=seconds,
            bytes={"read": 100, "written": 40},
            data={"bytes": 5000, "seconds": 0.75, "requests": 3},
            peakMemoryBytes=1000,
        ),
    )
    metrics.answered("worker", "train", Answered(TrainReply(done=True, peak_memory_bytes=900), 0.1, 0.0, 0.0))
    metrics.invocation_failed("worker", "train", InstanceLost("gone"))
    seen = Scraped(registry)
    labels = {"role": "worker", "op": "train"}
    assert seen.value("sapflow_invocations_total", **labels, outcome="ok") == 2
    assert seen.value("sapflow_invocations_total", **labels, outcome="InstanceLost") == 1
    for phase, total in {**seconds, "cold_start": 1.5, "queue": 0.01}.items():
        assert seen.value("sapflow_phase_seconds_sum", **labels, phase=phase) == pytest.approx(total)
    assert seen.value("sapflow_phase_seconds_count", **labels, phase="cold_start") == 1
    assert seen.value("sapflow_invocation_seconds_count", **labels) == 2
    assert seen.value("sapflow_read_bytes_total", **labels) == 100
    assert seen.value("sapflow_written_bytes_total", **labels) == 40
    assert seen.value("sapflow_data_read_bytes_total", **labels) == 5000
    assert seen.value("sapflow_data_read_seconds_total", **labels) == 0.75
    assert seen.value("sapflow_cold_starts_total", role="worker") == 1
    assert seen.value("sapflow_memory_peak_bytes", role="worker") == 1000


def test_a_commit_shows_where_the_job_stands(registry: CollectorRegistry, metrics: MetricsObserver) -> None:
    account = Account(cost_usd=0.25, retries=3, hedges=1)
    measured = Measured(loss=0.5, accuracy=0.75, gradient_norm=2.0, learning_rate=0.1, seconds=0.04)
    metrics.committed(commit(0))
    metrics.committed(commit(2, account=account, measured=measured, cursor=Cursor(epoch=1), skipped=True))
    metrics.evaluated(2, {"loss": 0.25, "accuracy": 0.875, "macroF1": 0.5})
    metrics.checkpointed(2)
    seen = Scraped(registry)
    expected = {
        "step": 2, "steps": 8, "epoch": 1, "loss": 0.5, "accuracy": 0.75, "gradient_norm": 2.0, "learning_rate": 0.1,
        "cost_dollars": 0.25, "validation_loss": 0.25, "validation_accuracy": 0.875, "workers": 4,
    }  # fmt: skip
    assert {name: seen.value(f"sapflow_job_{name}") for name in expected} == expected
    assert seen.value("sapflow_job_validation_metric", metric="macroF1") == 0.5
    assert seen.value("sapflow_commits_total") == 1
    assert seen.value("sapflow_skipped_steps_total") == 1
    assert seen.value("sapflow_retries_total") == 3
    assert seen.value("sapflow_hedges_total") == 1
    assert seen.value("sapflow_checkpoints_total") == 1
    assert seen.value("sapflow_step_seconds_sum") == pytest.approx(0.04)
    assert seen.value("sapflow_memory_limit_bytes", role="worker") == 512 << 20


def test_the_memory_limit_shown_is_the_one_that_functions_had(
    registry: CollectorRegistry, metrics: MetricsObserver
) -> None:
    metrics.committed(commit(1, measured=Measured(memory_limits={"worker": [512 << 20, 768 << 20]})))
    assert Scraped(registry).value("sapflow_memory_limit_bytes", role="worker") == 768 << 20
    assert Scraped(registry).value("sapflow_memory_limit_bytes", role="merger") == 256 << 20


def test_what_happens_seldom_is_counted_from_zero_on(
    registry: CollectorRegistry, metrics: MetricsObserver
) -> None:
    seen = Scraped(registry)
    for name in ("retries", "hedges", "commits", "skipped_steps", "checkpoints"):
        assert seen.value(f"sapflow_{name}_total") == 0
    for role in ("worker", "merger"):
        assert seen.value("sapflow_cold_starts_total", role=role) == 0


def test_a_driver_that_begins_again_and_again_and_commits_nothing_does_not_look_alive(
    registry: CollectorRegistry, metrics: MetricsObserver
) -> None:
    began = Scraped(registry).value("sapflow_job_last_commit_timestamp_seconds")
    assert began is not None
    metrics.begin(Extent.of(tiny_job(algorithm_steps=8), 120))
    assert Scraped(registry).value("sapflow_job_last_commit_timestamp_seconds") == began
    metrics.committed(commit(0))
    last = Scraped(registry).value("sapflow_job_last_commit_timestamp_seconds")
    assert last is not None
    assert last > began


def test_a_resumed_driver_counts_only_what_it_saw_itself(
    registry: CollectorRegistry, metrics: MetricsObserver
) -> None:
    metrics.resumed(commit(5, account=Account(retries=10)))
    metrics.committed(commit(6, account=Account(retries=11)))
    seen = Scraped(registry)
    assert seen.value("sapflow_retries_total") == 1
    assert seen.value("sapflow_job_step") == 6


def test_a_loss_that_is_no_number_leaves_the_last_one_standing(
    registry: CollectorRegistry, metrics: MetricsObserver
) -> None:
    metrics.committed(commit(1, measured=Measured(loss=0.5)))
    metrics.committed(commit(2, measured=Measured(loss=math.nan)))
    assert Scraped(registry).value("sapflow_job_loss") == 0.5


def test_names_are_of_one_family_in_base_units_with_help_and_no_created_series(
    registry: CollectorRegistry, metrics: MetricsObserver
) -> None:
    metrics.answered("worker", "train", answer())
    seen = Scraped(registry)
    assert not [sample.name for sample in seen.samples if sample.name.endswith("_created")]
    for name, family in seen.families.items():
        if name.startswith(("process_", "python_")):
            continue
        assert name.startswith("sapflow_")
        assert family.documentation
        assert not name.endswith(("_ms", "_milliseconds", "_mib", "_percent"))
        assert all(sample.labels["training_job"] == "tiny" for sample in family.samples)


def test_a_forecast_is_shown(registry: CollectorRegistry, metrics: MetricsObserver) -> None:
    forecast = Forecast(seconds_per_step=0.5, dollars_per_step=0.001, steps=8, constants="elsewhere")
    metrics.planned(Plan(structure=(1, 4), shards=1), forecast)
    metrics.planned(Plan(structure=(1, 4), shards=1), None)
    seen = Scraped(registry)
    assert seen.value("sapflow_job_forecast_seconds") == pytest.approx(4.0)
    assert seen.value("sapflow_job_forecast_cost_dollars") == pytest.approx(0.008)
