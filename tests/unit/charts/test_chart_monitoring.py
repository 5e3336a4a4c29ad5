"""Dashboard and alert rules ask for metrics that driver and operator export."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import services
from helpers.prometheus import promtool, require_prometheus
from prometheus_client import CollectorRegistry, generate_latest
from test_chart import EVERYTHING, _helm, render, the, wanted  # noqa: F401

from sapflow.monitoring.metrics import MetricsObserver
from sapflow.serving.metrics import ServerMetrics
from sapflow.spec.document import parse
from sapflow_functions.metrics import BUSY, INVOCATIONS, SECONDS
from sapflow_operator import names
from sapflow_operator.metrics import measured
from sapflow_operator.resources import driver_job, serving_service
from sapflow_operator.search_metrics import SearchCollector
from sapflow_operator.settings import Image, Settings

ROOT = Path(__file__).resolve().parents[3]
FILES = ROOT / "charts" / "sapflow" / "files"
RULES = FILES / "rules" / "sapflow.yaml"
SPEC = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2}
DOCUMENT = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "digits", "namespace": "team", "uid": "u-1"},
    "spec": SPEC,
}


def exported() -> set[str]:
    """Every series' name of ours that a driver, the operator or a server can have."""
    return _series(_driver()) | _series(_operator()) | _named(ServerMetrics().text(0, {}, {}))


def _search() -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(SearchCollector(lambda: [("team", "digits", {})]))
    return registry


def _driver() -> CollectorRegistry:
    registry = CollectorRegistry()
    MetricsObserver(parse(DOCUMENT, "kubernetes"), registry)
    return registry


def _operator() -> CollectorRegistry:
    image = Image(name="dev.local/any:1")
    registry = CollectorRegistry()
    measured(
        Settings(
            operator_image=image,
            worker_image=image,
            merger_image=image,
            preparer_image=image,
            server_image=image,
        ),
        registry,
    )
    return registry


def _series(registry: CollectorRegistry) -> set[str]:
    return _named(generate_latest(registry).decode())


def _named(text: str) -> set[str]:
    """The names of the series in Prometheus' text."""
    found = set()
    for line in text.splitlines():
        if line.startswith("# TYPE ") and not line.split()[2].endswith("_created"):
            name, kind = line.split()[2:]
            ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            found |= {f"{name}{end}" for end in ends}
    return found


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / "dashboards" / "sapflow.json").read_text())
    return found


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"\bsapflow_\w+", expression))


def test_the_dashboard_shows_every_aspect_of_a_job() -> None:
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == [
        "Job",
        "Step anatomy",
        "Invocations",
        "Bytes and memory",
        "Preparation",
        "Search",
        "Serving",
        "Operator",
    ]


@pytest.mark.parametrize("expression", queries())
def test_a_query_of_the_dashboard_asks_for_what_is_exported(expression: str) -> None:
    asked = metrics_of(expression)
    assert asked
    assert asked <= exported()


def test_panels_overlap_nowhere_and_have_ids_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        taken |= cells


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_what_is_exported_and_says_what_to_do(rule: dict[str, Any]) -> None:
    asked = metrics_of(rule["expr"])
    assert asked
    assert asked <= exported()
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}


def test_there_are_alerts_for_stalled_and_failing_jobs_and_for_the_operator() -> None:
    assert {"SapflowJobStalled", "SapflowJobFailed", "SapflowOperatorDown"} <= {
        rule["alert"] for rule in rules()
    }


# --- double counting


@pytest.mark.parametrize("expression", queries() + [rule["expr"] for rule in rules()])
def test_what_driver_and_operator_both_export_is_shown_once(expression: str) -> None:
    twice = _series(_driver()) & _series(_operator())
    assert twice >= {"sapflow_job_step", "sapflow_job_cost_dollars", "sapflow_job_seconds_per_step"}
    searches = _series(_search()) & _series(_operator())
    assert searches >= {"sapflow_search_trials", "sapflow_search_cost_dollars"}
    for name in metrics_of(expression) & searches:
        uses = len(re.findall(rf"\b{name}\b", expression))
        found = re.findall(rf"max by \(namespace, tuning_job(?:, state)?\) \({name}\b", expression)
        assert len(found) == uses
    for name in metrics_of(expression) & twice:
        uses = len(re.findall(rf"\b{name}\b", expression))
        assert len(re.findall(rf"max by \(namespace, training_job\) \({name}\b", expression)) == uses


# --- the reference


def test_the_reference_names_no_series_that_is_not_there() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    functions = {INVOCATIONS, SECONDS, BUSY}
    base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()}
    named = set(re.findall(r"`(sapflow_\w+)`", text))
    assert named - base == functions


def test_the_guides_scrape_configuration_takes_drivers_and_operator_by_labels_they_have() -> None:
    blocks = re.findall(
        r"```yaml\n(scrape_configs:.*?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL
    )
    scrape, local = (each for block in blocks for each in yaml.safe_load(block)["scrape_configs"])
    assert local["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]
    assert scrape["honor_labels"] is True
    keep, *others = scrape["relabel_configs"]
    assert keep["action"] == "keep"
    driver, server = (
        _discovered(each["spec"]["template"]["metadata"])
        for each in (
            driver_job.build(wanted()),
            serving_service.build(services.wanted(services.service()), []),
        )
    )
    for labels in (driver, server):
        assert re.fullmatch(keep["regex"], ";".join(labels[name] for name in keep["source_labels"]))
    asked = {name for each in others for name in each["source_labels"]}
    assert {name for name in asked if "annotation" in name or "label" in name} <= set(server)
    (named,) = (each for each in others if each.get("target_label") == "model_service")
    found = re.fullmatch(named["regex"], ";".join(server[name] for name in named["source_labels"]))
    assert found is not None
    assert found[1] == "late"
    assert not re.fullmatch(named["regex"], ";".join(driver.get(name, "") for name in named["source_labels"]))


def _discovered(pod: dict[str, Any]) -> dict[str, str]:
    """A pod's labels and annotations, as Prometheus calls them."""
    return {
        f"__meta_kubernetes_pod_{kind}_{re.sub(r'[^a-zA-Z0-9]', '_', name)}": value
        for kind in ("label", "annotation")
        for name, value in pod[f"{kind}s"].items()
    }


# --- monitors


def _rendered(kind: str, name: str = "") -> dict[str, Any]:
    """The one manifest of a kind, whose name ends like this."""
    (found,) = (
        each
        for each in render(*EVERYTHING)
        if each["kind"] == kind and each["metadata"]["name"].endswith(name)
    )
    return found


@pytest.mark.usefixtures("_helm")
def test_monitors_name_ports_that_the_pods_have() -> None:
    driver = driver_job.build(wanted())["spec"]["template"]["spec"]["containers"][0]
    (endpoint,) = _rendered("PodMonitor", "-drivers")["spec"]["podMetricsEndpoints"]
    assert {each["name"]: each["containerPort"] for each in driver["ports"]}[endpoint["port"]] == 9090
    (endpoint,) = _rendered("ServiceMonitor")["spec"]["endpoints"]
    (port,) = the("Service", "sapflow-operator")["spec"]["ports"]
    assert port["name"] == endpoint["port"]
    operator = _rendered("Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert {each["name"]: each["containerPort"] for each in operator["ports"]}[port["targetPort"]] == 9090
    assert endpoint["honorLabels"] is True


@pytest.mark.usefixtures("_helm")
@pytest.mark.parametrize("role", ["worker", "merger"])
def test_the_pod_monitors_leave_functions_alone(role: str) -> None:
    for name, wanted_role in (("-drivers", names.DRIVER), ("-servers", names.SERVER)):
        selector = _rendered("PodMonitor", name)["spec"]["selector"]["matchLabels"]
        assert selector.items() <= names.labels("digits", wanted_role).items()
        assert not selector.items() <= names.labels("digits", role).items()


@pytest.mark.usefixtures("_helm")
def test_series_of_servers_get_the_name_of_their_service() -> None:
    (endpoint,) = _rendered("PodMonitor", "-servers")["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "user-port"
    relabelled = {each["targetLabel"]: each["sourceLabels"] for each in endpoint["relabelings"]}
    pod = serving_service.build(services.wanted(services.service()), [])["spec"]["template"]["metadata"]
    label = "__meta_kubernetes_pod_label_" + re.sub(r"[^a-zA-Z0-9]", "_", names.JOB_LABEL)
    assert relabelled["model_service"] == [label]
    assert pod["labels"][names.JOB_LABEL] == "late"


@pytest.mark.usefixtures("_helm")
def test_the_operators_annotations_name_its_metrics_port() -> None:
    annotations = _rendered("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == "9090"


@pytest.mark.usefixtures("_helm")
def test_the_chart_carries_rules_and_dashboard_as_they_are_in_its_files() -> None:
    assert _rendered("PrometheusRule")["spec"] == yaml.safe_load(RULES.read_text())
    assert json.loads(_rendered("ConfigMap")["data"]["sapflow.json"]) == dashboard()


# --- rules, as promtool judges them


@pytest.fixture
def _promtool() -> None:
    require_prometheus()


@pytest.mark.usefixtures("_promtool")
def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", str(RULES))


OF_JOB = 'namespace="team",training_job="digits"'
COMMITTED = f"sapflow_job_last_commit_timestamp_seconds{{{OF_JOB}}}"
STEP_SECONDS = f"sapflow_job_seconds_per_step{{{OF_JOB}}}"
WORKS = f'sapflow_invocations_total{{{OF_JOB},outcome="ok"}}'
FAILS = f'sapflow_invocations_total{{{OF_JOB},outcome="InstanceLost"}}'
PEAK, LIMIT = (f'sapflow_memory_{each}_bytes{{{OF_JOB},role="worker"}}' for each in ("peak", "limit"))
OPERATOR = 'sapflow_operator_info{version="1"}'
OF_SEARCH = 'namespace="team",tuning_job="tune"'
FINISHED, PRUNED, FAILED = (
    f'sapflow_search_trials{{{OF_SEARCH},state="{each}"}}' for each in ("finished", "pruned", "failed")
)


SEARCH_FAILED, SEARCH_ENDED = (
    f'sapflow_search_state{{{OF_SEARCH},succeeded="{succeeded}",reason="{reason}"}}'
    for succeeded, reason in (("False", "TooManyFailed"), ("True", "GoalReached"))
)


def state(succeeded: str, reason: str) -> str:
    return f'sapflow_job_state{{{OF_JOB},succeeded="{succeeded}",reason="{reason}"}}'


OF_SERVICE = 'namespace="team",model_service="late",pod="late-a"'
ROWS = f"sapflow_server_rows_total{{{OF_SERVICE}}}"
UNSEEN = f'sapflow_server_unseen_categories_total{{{OF_SERVICE},column="carrier"}}'
OUTSIDE = f'sapflow_server_values_out_of_range_total{{{OF_SERVICE},column="delay"}}'
ANSWERED, FAULTS, PROBES = (
    f'sapflow_server_requests_total{{{OF_SERVICE},route="{route}",status="{status}"}}'
    for route, status in (("predict", 200), ("infer", 500), ("ready", 503))
)


def service(ready: str, reason: str) -> str:
    return f'sapflow_service_state{{namespace="team",model_service="late",ready="{ready}",reason="{reason}"}}'


@pytest.mark.usefixtures("_promtool")
@pytest.mark.parametrize(
    ("alert", "minutes", "series", "fires"),
    [
        pytest.param("Stalled", 13, {COMMITTED: "60+0x30", STEP_SECONDS: "1+0x30"}, True, id="no-commit"),
        pytest.param("Stalled", 13, {COMMITTED: "60+0x30"}, True, id="no-step-ever"),
        pytest.param("Stalled", 9, {COMMITTED: "60+0x30", STEP_SECONDS: "1+0x30"}, False, id="not-yet"),
        pytest.param("Stalled", 13, {COMMITTED: "60+60x30", STEP_SECONDS: "1+0x30"}, False, id="commits"),
        pytest.param("Stalled", 13, {COMMITTED: "60+0x30", STEP_SECONDS: "300+0x30"}, False, id="slow-steps"),
        pytest.param("Stalled", 130, {COMMITTED: "60+0x200", STEP_SECONDS: "300+0x200"}, True, id="slow-stops"),
        pytest.param("Stalled", 25, {COMMITTED: "60 60 stale"}, False, id="driver-gone"),
        pytest.param("Failed", 6, {state("False", "StepFailed"): "_x4 1+0x40"}, True, id="just-failed"),
        pytest.param("Failed", 30, {state("False", "StepFailed"): "_x4 1+0x40"}, False, id="failed-long-ago"),
        pytest.param("Failed", 6, {state("True", "Completed"): "1+0x40"}, False, id="completed"),
        pytest.param("Failed", 6, {state("Unknown", "Running"): "1+0x40"}, False, id="running"),
        pytest.param("InvocationsFail", 12, {WORKS: "0+10x30", FAILS: "0+5x30"}, True, id="a-third"),
        pytest.param("InvocationsFail", 12, {WORKS: "0+10x30", FAILS: "0+1x30"}, False, id="a-tenth"),
        pytest.param("InvocationsFail", 12, {WORKS: "0+10x30"}, False, id="none"),
        pytest.param("InvocationsFail", 12, {FAILS: "0+1x30"}, True, id="all"),
        pytest.param("MemoryNearLimit", 3, {PEAK: "97+0x9", LIMIT: "100+0x9"}, True, id="near"),
        pytest.param("MemoryNearLimit", 3, {PEAK: "90+0x9", LIMIT: "100+0x9"}, False, id="far"),
        pytest.param("SearchFailed", 6, {SEARCH_FAILED: "_x4 1+0x40"}, True, id="search-just-failed"),
        pytest.param("SearchFailed", 30, {SEARCH_FAILED: "_x4 1+0x40"}, False, id="search-long-ago"),
        pytest.param("SearchFailed", 6, {SEARCH_ENDED: "1+0x40"}, False, id="search-completed"),
        pytest.param("SearchTrialsFail", 3, {FINISHED: "8+0x9", FAILED: "5+0x9"}, True, id="many-trials-fail"),
        pytest.param("SearchTrialsFail", 3, {FINISHED: "8+0x9", PRUNED: "12+0x9", FAILED: "5+0x9"}, False, id="fifth"),
        pytest.param("SearchTrialsFail", 3, {FINISHED: "1+0x9", FAILED: "4+0x9"}, False, id="too-few-to-judge"),
        pytest.param("SearchTrialsFail", 3, {FAILED: "5+0x9"}, True, id="all-trials-fail"),
        pytest.param("ServiceNotServing", 8, {service("False", "GoldenRowsFailed"): "1+0x30"}, True, id="rejected"),
        pytest.param("ServiceNotServing", 3, {service("False", "GoldenRowsFailed"): "1+0x30"}, False, id="just-now"),
        pytest.param("ServiceNotServing", 8, {service("True", "RollingOut"): "1+0x30"}, False, id="rolling-out"),
        pytest.param("ServiceErrors", 12, {ANSWERED: "0+90x30", FAULTS: "0+10x30"}, True, id="a-tenth-fails"),
        pytest.param("ServiceErrors", 12, {ANSWERED: "0+98x30", FAULTS: "0+2x30"}, False, id="few-fail"),
        pytest.param("ServiceErrors", 12, {ANSWERED: "0+90x30", PROBES: "0+90x30"}, False, id="probes-fail"),
        pytest.param("ServiceInputsDrift", 40, {ROWS: "0+10x60", UNSEEN: "0+1x60"}, True, id="new-texts"),
        pytest.param("ServiceInputsDrift", 40, {ROWS: "0+10x60", OUTSIDE: "0+1x60"}, True, id="out-of-range"),
        pytest.param("ServiceInputsDrift", 40, {ROWS: "0+100x60", OUTSIDE: "0+2x60"}, False, id="two-percent"),
        pytest.param("ServiceInputsDrift", 40, {ROWS: "0+1x60", OUTSIDE: "0+1x60"}, False, id="too-few-rows"),
        pytest.param("ServiceInputsDrift", 40, {ROWS: "0+10x60", UNSEEN: "9+0x60"}, False, id="drifted-once"),
        pytest.param("OperatorDown", 20, {OPERATOR: "1 1 1 stale"}, True, id="gone"),
        pytest.param("OperatorDown", 20, {OPERATOR: "1+0x30"}, False, id="there"),
    ],
)  # fmt: skip
def test_an_alert_fires_when_it_should(
    tmp_path: Path, alert: str, minutes: int, series: dict[str, str], fires: bool
) -> None:
    (rule,) = (each for each in rules() if each["alert"] in (f"Sapflow{alert}", f"SapflowJob{alert}"))
    condition = f'count(ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}})'
    samples = [{"labels": "{}", "value": 1}] if fires else []
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {"expr": condition, "eval_time": f"{minutes}m", "exp_samples": samples},
                ],
            }
        ],
    }
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(path))


@pytest.mark.usefixtures("_promtool")
def test_an_alert_names_its_job(tmp_path: Path) -> None:
    (rule,) = (each for each in rules() if each["alert"] == "SapflowJobFailed")
    labels = {"namespace": "team", "training_job": "digits", "reason": "StepFailed", "severity": "warning"}
    said = {
        "summary": "Job team/digits has failed with StepFailed",
        "description": rule["annotations"]["description"],
    }
    test = {
        "rule_files": [str(RULES)],
        "tests": [
            {
                "input_series": [{"series": state("False", "StepFailed"), "values": "1+0x9"}],
                "alert_rule_test": [
                    {
                        "eval_time": "2m",
                        "alertname": rule["alert"],
                        "exp_alerts": [{"exp_labels": labels, "exp_annotations": said}],
                    }
                ],
            }
        ],
    }
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump(test))
    promtool("test", "rules", str(path))
