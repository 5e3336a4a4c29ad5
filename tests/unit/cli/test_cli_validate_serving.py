"""`sapflow validate` of ModelServices, and of what serves a job's model."""

import json
from pathlib import Path
from typing import Any

import pytest

from sapflow.cli import main

HEAD = {"apiVersion": "sapflow.dev/v1alpha1", "metadata": {"name": "digits"}}


def validated(folder: Path, kind: str, spec: dict[str, Any], *options: str) -> int:
    file = folder / "file.yaml"
    file.write_text(json.dumps({**HEAD, "kind": kind, "spec": spec}))
    return main(["validate", str(file), *options])


def test_a_service_is_checked_without_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validated(tmp_path, "ModelService", {"model": {"job": "digits"}}) == 0
    assert capsys.readouterr().out.startswith("digits is valid")
    assert validated(tmp_path, "ModelService", {"model": {"job": "digits"}}, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "service": "digits"}
    assert validated(tmp_path, "ModelService", {"model": {}}) == 2
    assert "spec.model: needs one of job, tuning and uri" in capsys.readouterr().err


def job(decision: dict[str, Any]) -> dict[str, Any]:
    data = {"source": "sklearn:digits"}
    model = {"name": "mlp", "args": {"hidden": [8]}}
    return {"model": model, "data": data, "workers": 2, "serve": {"decision": decision}}


def test_a_decision_about_classes_that_the_data_has_not_is_found_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validated(tmp_path, "TrainingJob", job({"thresholds": {"7": 0.2}})) == 0
    capsys.readouterr()
    assert validated(tmp_path, "TrainingJob", job({"thresholds": {"seven": 0.2}})) == 2
    told = capsys.readouterr().err
    assert "spec.serve.decision.thresholds: names seven, which is no class; there are 0, 1, 2" in told
    assert validated(tmp_path, "TrainingJob", job({"boxes": {"classes": ["cat"]}})) == 2
    assert "spec.serve.decision.boxes" in capsys.readouterr().err
