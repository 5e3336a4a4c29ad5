"""A trained model's file: what it says of itself, what it takes, and what it gives."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.commands import Shell

from sapflow import models
from sapflow.client import predict
from sapflow.errors import DataError
from sapflow.objects import safetensor

DESCRIPTION: dict[str, Any] = {
    "model": {"name": "mlp", "args": {"hidden": [5]}},
    "inputs": [2, 3],
    "outputs": 4,
    "task": "classification",
    "classes": 4,
    "scale": [0.5],
    "shift": [1.0],
}


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def write_model(path: Path, **changes: Any) -> torch.nn.Module:
    about = {**DESCRIPTION, **changes}
    model = models.build(
        "mlp", about["model"]["args"], inputs=tuple(about["inputs"]), outputs=about["outputs"], seed=1
    )
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    header = safetensor.encode_header(
        {name: (array.dtype, array.shape) for name, array in arrays.items()}, {"sapflow": json.dumps(about)}
    )
    path.write_bytes(header + b"".join(array.tobytes() for array in arrays.values()))
    return model.eval()


FEATURES = np.arange(24, dtype=np.float64).reshape(4, 2, 3)


def test_a_predictor_scales_and_gives_what_the_module_gives(tmp_path: Path) -> None:
    module = write_model(tmp_path / "m.safetensors")
    with torch.inference_mode():
        expected = module(torch.from_numpy((FEATURES * 0.5 + 1).astype(np.float32)))
    model = predict.load(tmp_path / "m.safetensors")
    assert model.predict(FEATURES).tolist() == expected.argmax(dim=1).tolist()
    assert model.probabilities(FEATURES) == pytest.approx(expected.softmax(dim=1).numpy(), abs=1e-6)
    assert model.predict(FEATURES.reshape(4, 6)).tolist() == model.predict(FEATURES).tolist()
    assert model.predict(FEATURES[0]).tolist() == model.predict(FEATURES[:1]).tolist()


def test_one_logit_is_two_classes(tmp_path: Path) -> None:
    module = write_model(tmp_path / "m.safetensors", outputs=1, classes=2)
    model = predict.load(tmp_path / "m.safetensors")
    with torch.inference_mode():
        logits = module(torch.from_numpy((FEATURES * 0.5 + 1).astype(np.float32)))[:, 0]
    assert model.probabilities(FEATURES)[:, 1] == pytest.approx(logits.sigmoid().numpy(), abs=1e-6)
    assert model.predict(FEATURES).tolist() == (logits > 0).int().tolist()


def test_regression_gives_values_and_no_probabilities(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors", task="regression", classes=None)
    model = predict.load(tmp_path / "m.safetensors")
    assert model.predict(FEATURES).shape == (4, 4)
    with pytest.raises(DataError, match="predicts values, not classes"):
        model.probabilities(FEATURES)


def test_scaled_targets_are_predicted_in_their_own_units(tmp_path: Path) -> None:
    statistics = {"mean": [10.0, 0, 0, 0], "deviation": [2.0, 1, 1, 1]}
    module = write_model(
        tmp_path / "m.safetensors", task="regression", classes=None, targetStatistics=statistics
    )
    with torch.inference_mode():
        outputs = module(torch.from_numpy((FEATURES * 0.5 + 1).astype(np.float32))).numpy()
    wanted = outputs * [2, 1, 1, 1] + [10, 0, 0, 0]
    assert predict.load(tmp_path / "m.safetensors").predict(FEATURES) == pytest.approx(wanted, abs=1e-5)


def test_labels_are_0_or_1_each_with_their_probabilities(tmp_path: Path, shell: Shell) -> None:
    module = write_model(tmp_path / "m.safetensors", task="multilabel", classes=None)
    with torch.inference_mode():
        outputs = module(torch.from_numpy((FEATURES * 0.5 + 1).astype(np.float32)))
    model = predict.load(tmp_path / "m.safetensors")
    assert model.predict(FEATURES).tolist() == (outputs > 0).int().tolist()
    assert model.probabilities(FEATURES) == pytest.approx(outputs.sigmoid().numpy(), abs=1e-6)
    np.save(tmp_path / "x.npy", FEATURES)
    found = shell("predict", tmp_path / "m.safetensors", tmp_path / "x.npy", "--json").json
    assert found["task"] == "multilabel"
    assert found["predictions"][0]["labels"] == np.flatnonzero(outputs[0] > 0).tolist()


def test_a_task_of_a_later_release_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors", task="ranking")
    with pytest.raises(DataError, match="there is no task 'ranking'; there are multilabel, classification"):
        predict.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("features", "text"),
    [
        (np.zeros((4, 5)), r"shape \[4, 5\]; the model takes \[n, 6\] or \[n, 2, 3\]"),
        (np.zeros((4, 7)), r"n at least 1: leave out the column of the target"),
        (np.zeros((0, 6)), "n at least 1"),
        (np.full((4, 6), np.nan), r"row 0 \(the first is 0\) are not finite"),
        (np.array([["a"] * 6]), "must be numbers"),
    ],
)
def test_features_that_do_not_fit_are_refused(features: np.ndarray, text: str, tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors")
    with pytest.raises(DataError, match=text):
        predict.load(tmp_path / "m.safetensors").predict(features)


def test_a_file_with_weights_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    write_model(path)
    header = safetensor.decode_header(path.read_bytes(), "m")
    about = {**DESCRIPTION, "model": {"name": "mlp", "args": {"hidden": [7]}}}
    tensors = {name: (tensor.dtype, tensor.shape) for name, tensor in header.tensors.items()}
    path.write_bytes(
        safetensor.encode_header(tensors, {"sapflow": json.dumps(about)}) + path.read_bytes()[header.size :]
    )
    with pytest.raises(DataError, match="the weights are not those of mlp"):
        predict.load(path)


@pytest.mark.parametrize("metadata", [{}, {"sapflow": "{"}, {"sapflow": '{"model": 1}'}])
def test_a_file_that_does_not_say_what_it_is_is_refused(metadata: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensor.encode_header({}, metadata))
    with pytest.raises(DataError, match="is no model file of Sapflow's"):
        predict.load(path)


def test_every_kind_of_input_gives_the_same_answer(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "m.safetensors")
    flat = FEATURES.reshape(4, 6)
    np.save(tmp_path / "x.npy", FEATURES)
    np.savez(tmp_path / "x.npz", x=FEATURES, y=np.zeros(4))
    np.savetxt(tmp_path / "x.csv", flat, delimiter=",")
    monkeypatch.setattr("sys.stdin", io.StringIO((tmp_path / "x.csv").read_text()))
    answers = [
        shell("predict", tmp_path / "m.safetensors", name, "--json").json
        for name in (tmp_path / "x.npy", tmp_path / "x.npz", tmp_path / "x.csv", "-")
    ]
    assert all(answer == answers[0] for answer in answers)
    assert len(answers[0]["predictions"]) == 4


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("x.csv", b"1,2\n1,2,3\n", "line 2: 3 numbers where there were 2 before"),
        ("x.csv", b"1,2\n1,b\n", "line 2: could not convert"),
        ("x.csv", b"a,b\n", "holds no rows"),
        ("x.npy", b"nothing", "is no readable .npy file"),
        ("x.npz", b"PK", "is no readable .npz file"),
        ("x.txt", b"1", "must be a .npy, .npz or .csv file"),
    ],
)
def test_input_that_cannot_be_read_is_told_so(
    name: str, content: bytes, text: str, tmp_path: Path, shell: Shell
) -> None:
    write_model(tmp_path / "m.safetensors")
    (tmp_path / name).write_bytes(content)
    done = shell("predict", tmp_path / "m.safetensors", tmp_path / name)
    assert done.code == 2
    assert text in done.err


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path, shell: Shell) -> None:
    write_model(tmp_path / "m.safetensors")
    np.save(tmp_path / "x.npy", np.array([{}, {}]), allow_pickle=True)
    done = shell("predict", tmp_path / "m.safetensors", tmp_path / "x.npy")
    assert done.code == 2
    assert "is no readable .npy file" in done.err


def test_a_model_away_from_its_store_asks_for_input(tmp_path: Path, shell: Shell) -> None:
    write_model(tmp_path / "m.safetensors")
    done = shell("predict", tmp_path / "m.safetensors")
    assert done.code == 2
    assert "give INPUT, a file of features" in done.err
