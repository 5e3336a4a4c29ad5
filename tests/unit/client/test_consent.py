"""Code that a model's file or a store names runs only with the user's consent."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import Shell

from sapflow.client import predict
from sapflow.client.session import uid_of
from sapflow.driver import result
from sapflow.errors import DataError
from sapflow.objects import safetensor
from sapflow.spec.document import parse

pytestmark = pytest.mark.usefixtures("forked_functions")

ABOUT: dict[str, Any] = {
    "inputs": [4], "outputs": 3, "task": "classification", "classes": 3, "scale": [1.0], "shift": [0.0],
}  # fmt: skip
MODULE = """\
from pathlib import Path

import torch

Path(__file__).with_name("imported").touch()


def factory(inputs, outputs):
    return torch.nn.Linear(inputs[0], outputs)


def loss(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")
"""


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable module that leaves a mark when it is imported."""
    name = f"of_a_stranger_{abs(hash(tmp_path)) % 10**9}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return name


def was_imported(folder: Path) -> bool:
    return (folder / "imported").exists()


def write(path: Path, model: dict[str, Any]) -> None:
    network = torch.nn.Linear(4, 3)
    arrays = {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}
    header = safetensor.encode_header(
        {name: (array.dtype, array.shape) for name, array in arrays.items()},
        {"sapflow": json.dumps({**ABOUT, "model": model})},
    )
    path.write_bytes(header + b"".join(array.tobytes() for array in arrays.values()))


def test_a_file_that_names_code_is_refused_without_consent_and_nothing_is_imported(
    tmp_path: Path, module: str
) -> None:
    path = tmp_path / "m.safetensors"
    write(path, {"entrypoint": f"{module}:factory"})
    with pytest.raises(DataError, match=f"names code of its own .*--entrypoint {module}:factory"):
        predict.load(path)
    assert not was_imported(tmp_path)
    assert module not in sys.modules


def test_a_command_of_the_system_is_never_called(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "m.safetensors"
    write(path, {"entrypoint": "os:system", "args": {"command": f"touch {tmp_path}/ran"}})
    done = shell("predict", path, tmp_path / "x.npy")
    assert done.code != 0
    assert "os:system" in done.err
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["mlp", None])
def test_every_field_that_names_code_needs_consent(name: str | None, tmp_path: Path, module: str) -> None:
    path = tmp_path / "m.safetensors"
    model = {"name": name} if name else {"entrypoint": f"{module}:factory"}
    write(path, {**model, "lossEntrypoint": f"{module}:loss"})
    for consent in (None, f"{module}:factory"):
        with pytest.raises(DataError, match=f"{module}:loss"):
            predict.load(path, entrypoint=consent)
    assert not was_imported(tmp_path)


@pytest.mark.parametrize("consent", ["other:factory", "{}:other", "{}:factory "])
def test_consent_to_another_name_is_none(consent: str, tmp_path: Path, module: str) -> None:
    path = tmp_path / "m.safetensors"
    write(path, {"entrypoint": f"{module}:factory"})
    with pytest.raises(DataError, match="nothing was imported"):
        predict.load(path, entrypoint=consent.format(module))
    assert not was_imported(tmp_path)


def test_consent_where_the_file_names_no_code_says_so(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write(path, {"name": "mlp", "args": {"hidden": []}})
    with pytest.raises(DataError, match="names only the built-in model mlp"):
        predict.load(path, entrypoint="my:factory")


@pytest.mark.parametrize("model", [{}, {"name": "mlp", "entrypoint": "os:system"}])
def test_a_file_names_one_model(model: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write(path, model)
    with pytest.raises(DataError, match="either a built-in model or an entrypoint"):
        predict.load(path, entrypoint=model.get("entrypoint"))


def test_with_consent_the_model_is_built(tmp_path: Path, module: str, shell: Shell) -> None:
    path = tmp_path / "m.safetensors"
    write(path, {"entrypoint": f"{module}:factory"})
    features = np.arange(8.0).reshape(2, 4)
    np.save(tmp_path / "x.npy", features)
    found = predict.load(path, entrypoint=f"{module}:factory").predict(features)
    assert predict.load(path, entrypoint=[f"{module}:factory"]).predict(features).tolist() == found.tolist()
    done = shell("predict", path, tmp_path / "x.npy", "--json", "--entrypoint", f"{module}:factory")
    assert [row["class"] for row in done.json["predictions"]] == found.tolist()


def test_a_loss_of_ones_own_is_left_out_of_the_file() -> None:
    """A prediction has no use for it, and consent to it would be asked for nothing."""
    from helpers.scripted import MANIFEST

    job = parse(
        {
            "apiVersion": "sapflow.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": "j"},
            "spec": {
                "model": {"name": "mlp", "lossEntrypoint": "my:loss"},
                "data": {"source": "sklearn:iris"},
                "workers": 1,
                "algorithm": {"steps": 1},
            },
        }
    )
    described = result.describe(job, MANIFEST)
    assert described["model"] == {"name": "mlp", "args": {}}
    assert described["outputs"] == MANIFEST.outputs


def test_a_report_builds_no_model_that_only_the_store_names(
    tmp_path: Path, module: str, shell: Shell
) -> None:
    """Whoever can write to a store can put a spec there."""
    file = tmp_path / "job.yaml"
    spec = {
        "model": {"entrypoint": f"{module}:factory"},
        "data": {"source": "sklearn:iris", "batchSize": 50},
        "workers": 1,
        "algorithm": {"steps": 1},
    }
    job = {
        "apiVersion": "sapflow.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": "j"},
        "spec": spec,
    }
    file.write_text(json.dumps(job))
    assert shell("run", file, "--store", tmp_path / "store", "--json").code == 0
    (tmp_path / "imported").unlink()
    page = tmp_path / "page.html"
    uid = uid_of(parse(job, "local"))
    command = ("report", uid, "--store", tmp_path / "store", "-o", page)
    assert shell(*command).code == 0
    assert "names code of its own" in page.read_text()
    assert not was_imported(tmp_path)
    done = shell("predict", uid, "--store", tmp_path / "store", "--json")
    assert done.code != 0
    assert f"--entrypoint {module}:factory" in done.out
    assert not was_imported(tmp_path)
    assert shell(*command, "--entrypoint", f"{module}:factory").code == 0
    assert "names code of its own" not in page.read_text()
    assert was_imported(tmp_path)
    # Who names the YAML has named the model.
    (tmp_path / "imported").unlink()
    assert shell("predict", file, "--store", tmp_path / "store", "--json").code == 0
