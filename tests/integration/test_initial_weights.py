"""Jobs that start from a file of weights."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Shell
from helpers.jobs import document

from sapflow import models
from sapflow.errors import SpecError
from sapflow.objects import safetensor
from sapflow.spec.document import parse
from sapflow_operator.store.policy import session_policy

pytestmark = pytest.mark.usefixtures("forked_functions")

SHAPE: dict[str, Any] = {"inputs": (4,), "outputs": 3}


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def tensors_of(seed: int, hidden: int = 8) -> dict[str, np.ndarray]:
    module = models.build("mlp", {"hidden": [hidden]}, seed=seed, **SHAPE)
    return {name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()}


def write(path: Path, arrays: dict[str, np.ndarray]) -> str:
    header = safetensor.encode_header({name: (each.dtype, each.shape) for name, each in arrays.items()}, {})
    path.write_bytes(header + b"".join(each.tobytes() for each in arrays.values()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def started(tmp_path: Path, shell: Shell, weights: str | None, **changes: Any) -> Any:
    """The outcome of a job of steps so small that they change nothing but the last bits."""
    file = tmp_path / "job.yaml"
    model = {"name": "mlp", "args": {"hidden": [8]}, **changes}
    if weights is not None:
        model["weights"] = weights
    body = document(
        model=model, algorithm={"steps": 1, "seed": 3}, optimizer={"name": "SGD", "learningRate": 1e-30}
    )
    file.write_text(json.dumps(body))
    return shell("run", file, "--store", tmp_path / "store", "--json")


def tensors(done: Any) -> dict[str, np.ndarray]:
    path = Path(done.json["path"])
    return safetensor.decode(memoryview(path.read_bytes()), "m")[0]


def test_training_starts_from_the_file_and_commit_0_names_its_digest(tmp_path: Path, shell: Shell) -> None:
    given = tensors_of(seed=77)
    digest = write(tmp_path / "w.safetensors", given)
    done = started(tmp_path, shell, str(tmp_path / "w.safetensors"))
    assert done.code == 0
    found = tensors(done)
    assert all((found[name] == given[name]).all() for name in given)
    assert not all((found[name] == each).all() for name, each in tensors_of(seed=3).items())
    (record,) = (tmp_path / "store").glob("jobs/*/commits/0.json")
    assert json.loads(record.read_text())["weights"] == digest


def test_a_result_of_sapflows_is_such_a_file_and_other_content_is_another_job(
    tmp_path: Path, shell: Shell
) -> None:
    first = started(tmp_path, shell, None)
    path = Path(first.json["path"])
    copy = tmp_path / "w.safetensors"
    copy.write_bytes(path.read_bytes())
    second = started(tmp_path, shell, str(copy))
    assert all((tensors(second)[name] == each).all() for name, each in tensors(first).items())
    write(copy, tensors_of(seed=5))
    refused = started(tmp_path, shell, str(copy))
    assert refused.json["error"]["reason"] == "InputsChanged"
    assert "w.safetensors" in refused.json["error"]["message"]


def test_by_name_only_what_matches_is_taken(tmp_path: Path, shell: Shell) -> None:
    given = {**tensors_of(seed=77), "head.of.another": np.zeros(5, np.float32)}
    first = next(iter(given))
    write(tmp_path / "w.safetensors", given)
    strict = started(tmp_path, shell, str(tmp_path / "w.safetensors"))
    assert strict.code != 0
    assert "has tensors that the model has not: head.of.another" in json.dumps(strict.json)
    done = started(tmp_path, shell, str(tmp_path / "w.safetensors"), weightsMatch=[first])
    found, seeded = tensors(done), tensors_of(seed=3)
    for name, each in found.items():
        assert (each == (given if name == first else seeded)[name]).all()


FIRST = next(iter(tensors_of(seed=0)))


@pytest.mark.parametrize(
    ("changes", "match", "problem"),
    [
        (lambda arrays: arrays.popitem(), None, "lacks tensors of the model"),
        (lambda arrays: arrays.update({FIRST: np.zeros((2, 2), np.float32)}), None, r"has shape \[2, 2\]"),
        (lambda arrays: arrays.update({FIRST: np.zeros((8, 4), np.int64)}), None, "is torch.int64"),
        (lambda arrays: None, ["nothing.*"], "matches no tensor of the model"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    changes: Any, match: list[str] | None, problem: str, tmp_path: Path, shell: Shell
) -> None:
    arrays = tensors_of(seed=1)
    changes(arrays)
    write(tmp_path / "w.safetensors", arrays)
    extra = {} if match is None else {"weightsMatch": match}
    done = started(tmp_path, shell, str(tmp_path / "w.safetensors"), **extra)
    assert done.code != 0
    assert re.search(problem, done.json["error"]["message"]), done.json
    assert "spec.model.weights" in done.json["error"]["message"]


def test_a_file_that_is_missing_or_no_safetensors_is_refused(tmp_path: Path, shell: Shell) -> None:
    missing = started(tmp_path, shell, str(tmp_path / "none.safetensors"))
    assert "cannot be read: No such file" in missing.json["error"]["message"]
    (tmp_path / "w.safetensors").write_bytes(b"pickle" * 100)
    broken = started(tmp_path, shell, str(tmp_path / "w.safetensors"))
    assert "is no complete safetensors file" in broken.json["error"]["message"]


@pytest.mark.parametrize(
    "weights",
    ["./w.safetensors", "s3://bucket", "s3://bucket/jobs/other/result/model.safetensors", "s3://bucket/a/*"],
)
def test_a_cluster_takes_weights_of_a_bucket_and_not_of_another_job(weights: str) -> None:
    with pytest.raises(SpecError, match=r"spec\.model\.weights"):
        parse(document(model={"name": "mlp", "weights": weights}), "kubernetes")
    if weights.startswith("./"):
        parse(document(model={"name": "mlp", "weights": weights}), "local")
    statements = session_policy("sapflow", "u", "sklearn:iris", [weights])["Statement"]
    assert statements == session_policy("sapflow", "u", "sklearn:iris")["Statement"]


def test_the_policy_grants_reading_the_one_object(tmp_path: Path) -> None:
    with_it = session_policy("sapflow", "u", "sklearn:iris", ["s3://models/base/w.safetensors"])["Statement"]
    without = session_policy("sapflow", "u", "sklearn:iris")["Statement"]
    (added,) = [each for each in with_it if each not in without]
    assert added["Action"] == ["s3:GetObject"]
    assert added["Resource"] == ["arn:aws:s3:::models/base/w.safetensors"]


def test_patterns_need_a_file() -> None:
    with pytest.raises(SpecError, match=r"spec\.model\.weightsMatch"):
        parse(document(model={"name": "mlp", "weightsMatch": ["a"]}), "local")
