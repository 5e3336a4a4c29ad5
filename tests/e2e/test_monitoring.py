"""A real Prometheus scrapes the cluster, as docs/metrics.md says: each query of the dashboard has its data."""

import json
import re
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.departures import departures
from helpers.kube import (
    ROOT,
    SYSTEM,
    Job,
    condition_of,
    finished,
    owned_store,
    read,
    sample,
    wait_until,
)
from helpers.prometheus import Prometheus, discovered_pods, prometheus, require_prometheus
from helpers.served_cluster import ROWS, Service, Way, under_load, way_to
from helpers.tuning_cluster import RATE, Search, brief

FILES = ROOT / "charts" / "sapflow" / "files"
RULES = FILES / "rules" / "sapflow.yaml"
MAY_BE_ZERO = {"Retries and hedges", "API requests that failed"}
"""Panels of what does not happen to a job that is left in peace."""
MAY_STAND_STILL = "sapflow_data_read_bytes_total"
"""Instances keep the small data of this job: all of it may be read before the first scrape, and none after."""
OUTAGE = "SapflowOperatorDown"
OTHERS = ("Preparation", "Search", "Serving")
"""Rows of the dashboard of which a job on samples shows nothing."""
PREPARED = 500_000
"""Raw rows that are prepared for some scrapes long."""
OF_FAULTS = {"Errors", "Services that do not serve what they are to serve"}
"""Panels of servers whose series begin with the first fault."""


def rows_of_panels() -> dict[str, list[dict[str, Any]]]:
    """The dashboard's panels by the titles of their rows."""
    found: dict[str, list[dict[str, Any]]] = {}
    for panel in json.loads((FILES / "dashboards" / "sapflow.json").read_text())["panels"]:
        if panel["type"] == "row":
            row = found.setdefault(panel["title"], [])
        else:
            row.append(panel)
    return found


def panels_of_jobs() -> list[dict[str, Any]]:
    return [panel for row, found in rows_of_panels().items() if row not in OTHERS for panel in found]


def asked(expression: str, job: Job | Service) -> str:
    """A query as Grafana sends it, with one job, search or service chosen."""
    values = {
        "$namespace": job.namespace,
        "$training_job": job.name,
        "$model_service": job.name,
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


def until_all_have_data(server: Prometheus, shown: Sequence[Mapping[str, Any]], job: Job | Service) -> None:
    """Wait until each query of the panels has had data of a job or service that is at work."""
    open_queries = {
        (panel["title"], target["expr"]): asked(target["expr"], job)
        for panel in shown
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


def alerts(server: Prometheus, namespace: str) -> list[dict[str, str]]:
    """The labels of the alerts that tell of a namespace, or of an operator that is gone; all rules can be computed."""
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}, rules
    found = [dict(alert["labels"]) for rule in rules for alert in rule["alerts"]]
    return [each for each in found if each.get("namespace") == namespace or each["alertname"] == OUTAGE]


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
    until_all_have_data(server, panels_of_jobs(), job)

    of_job = f'{{namespace="{job.namespace}",training_job="{job.name}"}}'
    assert len(server.query(f"sapflow_job_step{of_job}")) == 2, "driver and operator export it"
    stats = [panel for panel in panels_of_jobs() if panel["type"] == "stat"]
    for panel in stats:
        (target,) = panel["targets"]
        assert len(server.query(asked(target["expr"], job))) == 1, f"{panel['title']} shows the job once"
    for label, value in {"namespace": job.namespace, "training_job": job.name}.items():
        assert value in server.get(f"label/{label}/values", **{"match[]": "sapflow_job_steps"})

    assert alerts(server, namespace) == []

    steps = job.until_succeeded()["progress"]["steps"]
    wait_until(
        lambda: [each.value for each in server.query(f"sapflow_job_step{of_job}")] == [steps],
        "a finished job, as the operator alone knows it",
        60,
    )
    done = f'sapflow_job_state{{namespace="{job.namespace}",training_job="{job.name}",succeeded="True"}}'
    (state,) = wait_until(lambda: server.query(done), "its last state", 60)
    assert state.labels["reason"] == "Completed"


def test_every_query_of_the_dashboards_row_of_preparations_has_data(
    server: Prometheus, namespace: str, tmp_path: Path
) -> None:
    with in_bucket(departures(tmp_path / "flights", rows=PREPARED, bad=40, tail=300).folder) as source:
        document = sample("prepare", data__source=source, algorithm={"steps": 500, "seed": 0})
        job = Job.apply(namespace, document, "seen")
        until_all_have_data(server, rows_of_panels()["Preparation"], job)
        job.until_succeeded()


@contextmanager
def in_bucket(raw: Path) -> Iterator[str]:
    """Where the files of a folder are in the bucket until the block ends."""
    folder = f"raw-{secrets.token_hex(4)}"
    with owned_store() as store:
        for path in raw.iterdir():
            store.create(f"{folder}/{path.name}", path.read_bytes())
        yield f"s3://sapflow/{folder}"
        store.delete_prefix(f"{folder}/")


ODD = [ROWS[0] | changes for changes in ({"carrier": "never seen"}, {"delay": 1e9}, {"delay": "late"})]
"""Rows with a category and a value that training had not, and one that is no number."""


def test_every_query_of_the_dashboards_row_of_services_has_data_of_one_with_a_canary(
    server: Prometheus, namespace: str, tmp_path: Path
) -> None:
    with in_bucket(departures(tmp_path / "flights", rows=3_000).folder) as source:
        document = sample("prepare", data__source=source, algorithm={"steps": 20, "seed": 0})
        Job.apply(namespace, document, "trained").until_succeeded()
    service = Service.apply(namespace, "seen", {"model": {"job": "trained"}, "scale": {"min": 1}})
    service.until("True", "Serving")
    canary = {"percent": 50, "stepSeconds": 600, "minRequests": 10, "minAgreement": 0.0}
    service.patch({"canary": canary, "decision": {"abstain": {"below": 0.01}}})
    shown = [each for each in rows_of_panels()["Serving"] if each["title"] not in OF_FAULTS]
    with way_to(service) as way, under_load(way, threads=1), odd_requests(way):
        until_all_have_data(server, shown, service)
    assert {each["alertname"] for each in alerts(server, namespace)} <= {"SapflowServiceInputsDrift"}


@contextmanager
def odd_requests(way: Way) -> Iterator[None]:
    """ODD is asked for every half second until the block ends."""
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.5):
            for row in ODD:
                way.ask(rows=[row])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_every_query_of_the_dashboards_row_of_searches_has_data_and_a_failed_search_gives_an_alert(
    server: Prometheus, namespace: str
) -> None:
    search = Search.apply(
        namespace,
        brief(
            maxTrials=12,
            prune={"name": "ASHA", "first": 1, "factor": 2},
            budgetUSD=0.05,
            template__spec__limits={"invocationSeconds": 20},
        ),
        "seen",
    )
    until_all_have_data(server, rows_of_panels()["Search"], search)
    of_search = f'{{namespace="{namespace}",tuning_job="seen"}}'
    both = wait_until(
        lambda: server.query(f"sapflow_search_calls_limit{of_search}"), "the limit of calls", 30
    )
    assert [each.value for each in both] == [4, 4], "driver and operator export it"
    assert alerts(server, namespace) == []
    progress = search.until_succeeded()["progress"]
    done = f'sapflow_search_state{{namespace="{namespace}",tuning_job="seen",succeeded="True"}}'
    (state,) = wait_until(lambda: server.query(done), "its last state", 60)
    assert state.labels["reason"] == "Completed"
    ended = f'sapflow_search_trials{of_search[:-1]},state="finished"}}'
    wait_until(
        lambda: [each.value for each in server.query(ended)] == [progress["finished"]],
        "a finished search, as the operator alone knows it",
        60,
    )

    hopeless = [{"path": RATE["path"], "categorical": {"choices": [1e30, 2e30]}}]
    failed = Search.apply(namespace, brief(parameters=hopeless, maxTrials=2), "hopeless")
    assert condition_of(failed.until_finished(), "Succeeded")["status"] == "False"

    def told() -> list[str]:
        found = alerts(server, namespace)
        return [each["tuning_job"] for each in found if each["alertname"] == "SapflowSearchFailed"]

    assert wait_until(told, "an alert", 60) == ["hopeless"]
