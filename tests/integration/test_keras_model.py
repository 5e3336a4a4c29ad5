"""A Keras 3 model on the torch backend is a model of one's own: it is trained, and served by its entrypoint."""

import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import Shell
from helpers.server_process import ServerProcess, document
from sklearn.datasets import load_iris

from sapflow.models.build import build

HOW_TO_FIX = "tests of Keras models need Keras 3: pip install 'sapflow[keras]'"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "python.md"
(MODEL,) = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
JOB = """
apiVersion: sapflow.dev/v1alpha1
kind: TrainingJob
metadata: {name: flowers}
spec:
  model: {entrypoint: "keras_flowers:build", args: {width: 12}}
  data: {source: "sklearn:iris", batchSize: 10, validationFraction: 0.2}
  workers: 2
  algorithm: {epochs: 60}
  optimizer: {name: Adam, learningRate: 0.02}
"""


@pytest.fixture(autouse=True)
def _keras() -> None:
    """Skips where Keras is missing, and fails instead where SAPFLOW_REQUIRE_KERAS is 1."""
    if importlib.util.find_spec("keras") is None:
        if os.environ.get("SAPFLOW_REQUIRE_KERAS") == "1":
            pytest.fail(HOW_TO_FIX)
        pytest.skip(HOW_TO_FIX)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "keras_flowers.py").write_text(MODEL)
    (tmp_path / "job.yaml").write_text(JOB)
    return tmp_path


@pytest.mark.slow
def test_a_keras_model_is_trained_and_served_by_its_entrypoint(folder: Path, shell: Shell) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    done = shell("run", folder / "job.yaml", "--store", folder / "store", "--json", environ=environ)
    assert done.code == 0, done.err
    assert done.json["validationAccuracy"] >= 0.9
    (model,) = (folder / "store").glob("jobs/*/result/model.safetensors")
    served = document(entrypoints=["keras_flowers:build"], needsGoldenRows=True, asksToken=False)
    with ServerProcess(model.parent, served, PYTHONPATH=environ["PYTHONPATH"]) as process:
        features, classes = load_iris(return_X_y=True)
        made = process.post("/predict", {"rows": features.tolist()})["decisions"]
    assert '"goldenRows": 16' in process.log
    assert np.mean([int(each["label"]) for each in made] == classes) >= 0.9


def test_weights_have_the_same_names_and_values_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    first, second = (
        build("keras_flowers:build", {}, inputs=(4,), outputs=3, seed=7).state_dict() for _ in range(2)
    )
    assert list(first) == list(second)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_layers_whose_state_no_version_can_carry_are_refused_by_name(folder: Path, shell: Shell) -> None:
    text = MODEL.replace("layers.LayerNormalization()", "layers.Dropout(0.5)")
    (folder / "keras_dropping.py").write_text(text)
    job = folder / "job.yaml"
    job.write_text(JOB.replace("keras_flowers", "keras_dropping"))
    done = shell("validate", job)
    assert done.code == 2
    assert "parameters other than float32" in done.err
    assert "seed_generator_state" in done.err
