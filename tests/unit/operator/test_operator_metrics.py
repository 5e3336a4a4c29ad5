"""The operator's metrics, as Prometheus reads them."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kopf
import pytest
import yaml
from aiohttp import web
from helpers.operator_settings import SETTINGS
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from s3_servers import free_port

import sapflow
from sapflow.kube.errors import ClusterError
from sapflow.quantities.roles import ALL_ROLES
from sapflow_operator import main, names
from sapflow_operator.api import cluster as api
from sapflow_operator.kinds.training_job import TRAINING_JOB
from sapflow_operator.metrics import Instruments, JobCollector, MeasuredCluster, MeasuredController
from sapflow_operator.observed import JobObject

PROGRESS = {
    "step": 5,
    "steps": 8,
    "epoch": 1,
    "loss": 0.5,
    "accuracy": 0.75,
    "validationLoss": 0.25,
    "validationAccuracy": 0.875,
    "secondsPerStep": 0.04,
    "costUSD": 0.125,
}
Scraped = dict[tuple[str, frozenset[tuple[str, str]]], float]


def job(name: str, status: dict[str, Any], namespace: str = "team") -> JobObject:
    return JobObject(name, namespace, f"u-{name}", 1, datetime.now(UTC), False, {}, status)


def succeeded(status: str, reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "Succeeded", "status": status, "reason": reason}]}


def scrape(registry: CollectorRegistry) -> Scraped:
    """The values by name and labels; of histograms the counts alone."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created", "_sum"))
    }


def series(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def scrape_jobs(*jobs: JobObject) -> Scraped:
    registry = CollectorRegistry()
    registry.register(JobCollector(lambda: jobs))
    return scrape(registry)


def test_a_jobs_progress_has_the_names_and_the_label_of_the_drivers_series() -> None:
    seen = scrape_jobs(job("digits", {"progress": PROGRESS}))
    expected = {
        "step": 5, "steps": 8, "epoch": 1, "loss": 0.5, "accuracy": 0.75, "validation_loss": 0.25,
        "validation_accuracy": 0.875, "seconds_per_step": 0.04, "cost_dollars": 0.125,
    }  # fmt: skip
    for name, value in expected.items():
        assert seen[series(f"sapflow_job_{name}", namespace="team", training_job="digits")] == value


def test_other_metrics_are_told_apart_by_their_names() -> None:
    seen = scrape_jobs(job("digits", {"progress": {"validationMetrics": {"r2": 0.5, "mae": 3.0}}}))
    for name, value in {"r2": 0.5, "mae": 3.0}.items():
        labels = {"namespace": "team", "training_job": "digits", "metric": name}
        assert seen[series("sapflow_job_validation_metric", **labels)] == value


def test_two_jobs_of_one_name_are_told_apart_by_namespace() -> None:
    here, there = job("digits", {"progress": {"step": 1}}), job("digits", {"progress": {"step": 2}}, "other")
    seen = scrape_jobs(here, there)
    assert seen[series("sapflow_job_step", namespace="team", training_job="digits")] == 1
    assert seen[series("sapflow_job_step", namespace="other", training_job="digits")] == 2


def test_jobs_are_counted_by_state_and_each_shows_its_own() -> None:
    done, failed = succeeded("True", "Completed"), succeeded("False", "StepFailed")
    seen = scrape_jobs(job("a", done), job("b", done), job("c", failed), job("d", {}))
    for reason, count in {"Completed": 2, "StepFailed": 1, "New": 1}.items():
        assert seen[series("sapflow_jobs", reason=reason)] == count
    of_c = {"namespace": "team", "training_job": "c", "succeeded": "False", "reason": "StepFailed"}
    assert seen[series("sapflow_job_state", **of_c)] == 1


def test_what_a_job_has_not_reported_has_no_series() -> None:
    seen = scrape_jobs(job("new", {}))
    assert {name for name, _ in seen} == {"sapflow_jobs", "sapflow_job_state"}


def test_the_operators_version_is_there_before_any_job() -> None:
    registry = CollectorRegistry()
    Instruments(registry)
    assert scrape(registry)[series("sapflow_operator_info", version=sapflow.__version__)] == 1


@contextmanager
def kubeconfig(folder: Path, monkeypatch: pytest.MonkeyPatch, port: int) -> Iterator[None]:
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "mine"}}],
    }
    (folder / "config").write_text(yaml.safe_dump(config))
    with monkeypatch.context() as patched:
        patched.setenv("KUBECONFIG", str(folder / "config"))
        patched.setattr(api, "PATIENCE", replace(api.PATIENCE, pause=0.0))
        yield


@pytest.fixture
def work_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Scraped]:
    """Do work with a measured controller on an API server of given statuses; what is scraped afterwards."""

    def run(
        work: Callable[[MeasuredController, MeasuredCluster], Coroutine[Any, Any, None]], **statuses: int
    ) -> Scraped:
        async def answer(request: web.Request) -> web.Response:
            return web.json_response({"metadata": {}}, status=statuses.get(request.method, 200))

        async def scenario() -> Scraped:
            application = web.Application()
            application.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(application)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            registry = CollectorRegistry()
            instruments = Instruments(registry)
            with kubeconfig(tmp_path, monkeypatch, runner.addresses[0][1]):
                cluster = MeasuredCluster(instruments)
                try:
                    await work(MeasuredController(SETTINGS, cluster, TRAINING_JOB, instruments), cluster)
                finally:
                    await cluster.close()
                    await runner.cleanup()
            return scrape(registry)

        return asyncio.run(scenario())

    return run


def test_reconciliations_are_counted_by_outcome(work_with: Callable[..., Scraped]) -> None:
    async def work(controller: MeasuredController, cluster: MeasuredCluster) -> None:
        await controller.reconcile("team", "gone")
        assert await controller.finalize("team", "gone")

    seen = work_with(work, GET=404)
    assert seen[series("sapflow_operator_reconcile_seconds_count", op="reconcile", outcome="ok")] == 1
    assert seen[series("sapflow_operator_reconcile_seconds_count", op="finalize", outcome="ok")] == 1


def test_a_reconciliation_that_the_api_server_refuses_is_counted_with_its_reason(
    work_with: Callable[..., Scraped],
) -> None:
    async def work(controller: MeasuredController, cluster: MeasuredCluster) -> None:
        with pytest.raises(ClusterError):
            await controller.reconcile("team", "secret")

    seen = work_with(work, GET=403)
    assert (
        seen[series("sapflow_operator_reconcile_seconds_count", op="reconcile", outcome="ClusterRefused")]
        == 1
    )
    assert seen[series("sapflow_operator_api_failures_total", method="GET", status="403")] == 1


def test_each_try_that_fails_is_counted_and_an_absent_object_is_no_failure(
    work_with: Callable[..., Scraped],
) -> None:
    async def work(controller: MeasuredController, cluster: MeasuredCluster) -> None:
        with pytest.raises(ClusterError):
            await cluster.get("Job", "team", "a")
        await cluster.delete("Job", "team", "absent")

    seen = work_with(work, GET=503, DELETE=404)
    failures = {labels: value for (name, labels), value in seen.items() if "api_failures" in name}
    assert list(failures) == [frozenset({("method", "GET"), ("status", "503")})]
    assert all(value > 1 for value in failures.values())


def test_credentials_that_are_written_are_counted_by_kind(work_with: Callable[..., Scraped]) -> None:
    def secret(**annotations: str) -> dict[str, Any]:
        metadata = {"name": "a-pool", "namespace": "team", "annotations": annotations}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}

    async def work(controller: MeasuredController, cluster: MeasuredCluster) -> None:
        await cluster.create(secret())
        await cluster.create(secret(**{names.CREDENTIALS_KIND: "session"}))
        await cluster.create(secret(**{names.CREDENTIALS_KIND: "account"}), dry_run=True)
        await cluster.change(secret(**{names.CREDENTIALS_KIND: "session"}), "u")

    seen = work_with(work)
    assert seen[series("sapflow_operator_credentials_total", kind="session")] == 2


def test_credentials_that_could_not_be_written_are_not_counted(work_with: Callable[..., Scraped]) -> None:
    async def work(controller: MeasuredController, cluster: MeasuredCluster) -> None:
        metadata = {"name": "a", "namespace": "team", "annotations": {names.CREDENTIALS_KIND: "session"}}
        with pytest.raises(ClusterError):
            await cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata})

    seen = work_with(work, POST=403)
    assert not [name for name, _ in seen if name == "sapflow_operator_credentials_total"]


def test_the_operators_log_tells_nothing_of_liveness_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    # main replaces the handlers of the process, which are pytest's here.
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(kopf, "run", lambda **_: None)
    levels = {each: each.level for each in (root, access, logging.getLogger("kopf"))}
    images = {
        f"SAPFLOW_{role}_IMAGE": "dev.local/any:1"
        for role in ("OPERATOR", "SERVER", *map(str.upper, ALL_ROLES))
    }
    try:
        assert main.main(images | {"SAPFLOW_METRICS_PORT": str(free_port())}) == 0
        assert not access.isEnabledFor(logging.INFO)
        assert logging.getLogger("sapflow.operator").isEnabledFor(logging.INFO)
    finally:
        for each, level in levels.items():
            each.setLevel(level)
