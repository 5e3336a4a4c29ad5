"""The guides for a cluster say what there is."""

import re
from pathlib import Path

import yaml
from test_chart_monitoring import exported

from sapflow import errors
from sapflow_operator import errors as operator_errors
from sapflow_operator.hooks.check import CELL_FEATURES, FEATURES

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"


def test_every_metric_is_in_the_reference() -> None:
    text = (DOCS / "metrics.md").read_text()
    base = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported()} - {"up"}
    assert sorted(name for name in base if f"`{name}`" not in text) == []


def test_every_alert_is_in_the_reference() -> None:
    text = (DOCS / "metrics.md").read_text()
    (group,) = yaml.safe_load((ROOT / "charts/sapflow/files/rules/sapflow.yaml").read_text())["groups"]
    assert [rule["alert"] for rule in group["rules"] if f"`{rule['alert']}`" not in text] == []


def test_every_reason_of_an_error_has_a_line_in_the_operations_guide() -> None:
    text = (DOCS / "operations.md").read_text()
    reasons = {
        each.reason
        for module in (errors, operator_errors)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, errors.SapflowError)
    }
    assert sorted(reason for reason in reasons if f"`{reason}`" not in text) == []


def test_the_install_guide_sets_every_flag_that_functions_need() -> None:
    text = (DOCS / "install.md").read_text()
    assert [
        flag for flag in (*FEATURES, *CELL_FEATURES, "allow-zero-initial-scale") if f'"{flag}"' not in text
    ] == []


def test_values_that_the_guides_name_exist() -> None:
    values = yaml.safe_load((ROOT / "charts/sapflow/values.yaml").read_text())
    for name in ("install", "operations", "security", "metrics"):
        for path in re.findall(r"--set ([\w.]+)=", (DOCS / f"{name}.md").read_text()):
            found = values
            for part in path.split("."):
                assert part in found, f"docs/{name}.md: {path}"
                found = found[part]
