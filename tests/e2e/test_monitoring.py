"""A real Prometheus scrapes the cluster, as docs/metrics.md says: each query of the dashboard has data of a job."""

import json
import re
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.kube import ROOT, SYSTEM, Job, finished, read, sample, wait_until
from helpers.prometheus import Prometheus, discovered_pods, prometheus, require_prometheus

FILES = ROOT / "charts" / "sapflow" / "files"
RULES = FILES / "rules" / "sapflow.yaml"
MAY_BE_ZERO = {"Retries and hedges", "API requests that failed"}
"""Panels of what does not happen to a job that is left in peace."""
MAY_STAND_STILL = "sapflow_data_read_bytes_total"
"""Instances keep the small data of this job: all of it may be read before the first scrape, and none after."""
OUTAGE = "SapflowOperatorDown"


def panels() -> list[dict[str, Any]]:
    found = json.loads((FILES / "dashboards" / "sapflow.json").read_text())
    return [panel for panel in found["panels"] if panel["type"] != "row"]


def asked(expression: str, job: Job) -> str:
    """A query as Grafana sends it, with one job chosen."""
    values = {
        "$namespace": job.namespace,
        "$training_job": job.name,
        "$__rate_interval": "30s",
        "$__range": "5m",
    }
    for variable, value in values.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression, expression
    return expression


def documented(discovery: Mapping[str, Any]) -> dict[str, Any]:
    """The scrape configuration of the guide, with its discovery of pods replaced."""
    (block, *_) = re.findall(
        r"```yaml\n(scrape_configs:.*?)```", (ROOT / "docs/metrics.md").read_text(), re.S
    )
    config: dict[str, Any] = yaml.safe_load(block)
    (scrape,) = config["scrape_configs"]
    assert scrape.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    scrape |= discovery
    return config


def require_reachable_pods() -> None:
    (pod, *_) = read("pods", "-n", SYSTEM, "-l", "app.kubernetes.io/component=operator")["items"]
    address = pod["status"]["podIP"]
    try:
        socket.create_connection((address, 9090), 5).close()
    except OSError as error:
        pytest.skip(
            f"pods cannot be reached from here ({address}: {error}): Prometheus would have to run inside"
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Prometheus]:
    require_prometheus()
    require_reachable_pods()
    config = {"global": {"scrape_interval": "5s", "evaluation_interval": "5s"}, "rule_files": [str(RULES)]}
    with discovered_pods(tmp_path) as pods, prometheus(tmp_path, config | documented(pods)) as server:
        yield server


def test_every_query_of_the_dashboard_has_data_of_a_running_job(server: Prometheus, namespace: str) -> None:
    document = sample(
        "digits",
        workers=2,
        merge__structure=[1, 2],
        algorithm={"steps": 500, "seed": 0},
        evaluation__everySteps=25,
        checkpoint={"everySteps": 50},
    )
    job = Job.apply(namespace, document, "seen")
    open_queries = {
        (panel["title"], target["expr"]): asked(target["expr"], job)
        for panel in panels()
        for target in panel["targets"]
    }

    def has_data(title: str, expression: str) -> bool:
        found = server.query(expression)
        excused = title in MAY_BE_ZERO or MAY_STAND_STILL in expression
        return any(excused or each.value for each in found)

    def all_had_data() -> bool:
        for (title, given), expression in list(open_queries.items()):
            if has_data(title, expression):
                del open_queries[title, given]
        assert not (open_queries and finished(job.status)), f"no data until the job's end: {open_queries}"
        return not open_queries

    wait_until(all_had_data, "data of every query", 200, pause=3)

    of_job = f'{{namespace="{job.namespace}",training_job="{job.name}"}}'
    assert len(server.query(f"sapflow_job_step{of_job}")) == 2, "driver and operator export it"
    stats = [panel for panel in panels() if panel["type"] == "stat"]
    for panel in stats:
        (target,) = panel["targets"]
        assert len(server.query(asked(target["expr"], job))) == 1, f"{panel['title']} shows the job once"
    for label, value in {"namespace": job.namespace, "training_job": job.name}.items():
        assert value in server.get(f"label/{label}/values", **{"match[]": "sapflow_job_steps"})

    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    alerting = [alert["labels"] for rule in rules for alert in rule["alerts"]]
    assert [
        each for each in alerting if each.get("namespace") == namespace or each["alertname"] == OUTAGE
    ] == []

    steps = job.until_succeeded()["progress"]["steps"]
    wait_until(
        lambda: [each.value for each in server.query(f"sapflow_job_step{of_job}")] == [steps],
        "a finished job, as the operator alone knows it",
        60,
    )
    done = f'sapflow_job_state{{namespace="{job.namespace}",training_job="{job.name}",succeeded="True"}}'
    (state,) = wait_until(lambda: server.query(done), "its last state", 60)
    assert state.labels["reason"] == "Completed"
