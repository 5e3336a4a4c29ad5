"""Dashboard and alert rules ask for metrics that driver and operator export."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from sapflow.job import parse
from sapflow.metrics import MetricsObserver
from sapflow_operator import names
from sapflow_operator.metrics import JobCollector
from sapflow_operator.observed import JobObject

FILES = Path(__file__).resolve().parents[2] / "charts" / "sapflow" / "files"
RULES = FILES / "rules" / "sapflow.yaml"
SPEC = {"model": {"name": "mlp"}, "data": {"source": "sklearn:digits"}, "workers": 2}
DOCUMENT = {
    "apiVersion": names.API_VERSION,
    "kind": names.KIND,
    "metadata": {"name": "digits", "namespace": "team", "uid": "u-1"},
    "spec": SPEC,
}


def exported() -> set[str]:
    """Every series' name that a driver or the operator can have; `up` is Prometheus's own."""
    registry = CollectorRegistry()
    MetricsObserver(parse(DOCUMENT, "kubernetes"), registry)
    progress = dict.fromkeys(
        ("step", "steps", "loss", "accuracy", "validationAccuracy", "secondsPerStep", "costUSD"), 1
    )
    job = JobObject("digits", "team", "u-1", 1, datetime.now(UTC), False, SPEC, {"progress": progress})
    registry.register(_Apart(JobCollector(lambda: [job])))
    found = {"up"}
    for line in generate_latest(registry).decode().splitlines():
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            ends = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            found |= {f"{name}{end}" for end in ends}
    return found


class _Apart:
    """The operator's metrics beside the driver's: some have the same name, so the registry may not be asked first."""

    def __init__(self, collector: JobCollector) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Any]:
        yield from self._collector.collect()

    def describe(self) -> list[Any]:
        return []


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FILES / "dashboards" / "sapflow.json").read_text())
    return found


def queries() -> list[str]:
    return [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:sapflow_\w+|up(?={))", expression))


def test_the_dashboard_shows_every_aspect_of_a_job() -> None:
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == ["Job", "Step anatomy", "Invocations", "Bytes and memory", "Operator"]


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


@pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool was found: apt-get install prometheus")
def test_promtool_takes_the_rules() -> None:
    process = subprocess.run(
        ["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, timeout=30, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr
