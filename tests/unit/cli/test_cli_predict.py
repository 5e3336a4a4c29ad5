"""A trained model's file: what it says of itself, what it takes, and what it gives."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
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
        ("x.csv", b"1,2\n1,2,3\n", "line 2: 3 cells where there are 2 columns"),
        ("x.csv", b"3,2\n1,b\n", "line 2, column 1: 'b' is not a finite number"),
        ("x.csv", b"a,b\n", "holds no rows"),
        ("x.npy", b"nothing", "is no readable .npy file"),
        ("x.npz", b"PK", "is no readable .npz file"),
        ("x.txt", b"1", "must be a .npy, .npz, .csv, .csv.gz or .parquet file"),
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


TABLE: dict[str, Any] = {
    "inputs": [3],
    "outputs": 1,
    "classes": 2,
    "scale": [1.0],
    "shift": [0.0],
    "columns": ["a", "b", "c"],
    "classNames": ["no", "yes"],
}
SAMPLES = np.random.default_rng(0).normal(size=(20, 3)).round(3) * 10 + 0.0001


@pytest.fixture
def table(tmp_path: Path) -> pandas.DataFrame:
    write_model(tmp_path / "m.safetensors", **TABLE)
    return pandas.DataFrame(SAMPLES, columns=["a", "b", "c"])


def answers(shell: Shell, folder: Path, name: str = "x.csv", *more: str) -> list[str]:
    done = shell("predict", folder / "m.safetensors", folder / name, "--json", *more)
    return [each["label"] for each in done.json["predictions"]]


def test_columns_are_matched_by_name_in_every_format(
    tmp_path: Path, shell: Shell, table: pandas.DataFrame
) -> None:
    wanted = predict.load(tmp_path / "m.safetensors").predict(SAMPLES).tolist()
    assert {*wanted} == {"no", "yes"}
    shuffled = table[["c", "a", "b"]].assign(label="?", id=7)
    shuffled.to_csv(tmp_path / "x.csv", index=False)
    shuffled.set_index("id").to_parquet(tmp_path / "x.parquet")
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress((tmp_path / "x.csv").read_bytes()))
    for name in ("x.csv", "x.parquet", "x.csv.gz"):
        assert answers(shell, tmp_path, name) == wanted
    done = shell("predict", tmp_path / "m.safetensors", tmp_path / "x.csv")
    assert "columns of" in done.err
    assert "that the model does not take: label, id" in done.err
    assert f"0: {wanted[0]} (" in done.out
    model = predict.load(tmp_path / "m.safetensors")
    assert model.predict(shuffled).tolist() == wanted
    assert model.predict(pyarrow.Table.from_pandas(shuffled)).tolist() == wanted
    assert model.predict(pandas.DataFrame(SAMPLES)).tolist() == wanted, "columns without names count by place"
    with pytest.raises(DataError, match="the DataFrame has no column 'b'"):
        model.predict(table.rename(columns={"b": "d"}))


@pytest.mark.parametrize("start", ["", "a,b,c\n", "0,1,2\n", "\ufeff", "\ufeffa,b,c\n"])
def test_a_header_of_any_kind_and_a_byte_order_mark_are_no_rows(
    start: str, tmp_path: Path, shell: Shell, table: pandas.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = start + str(table.to_csv(index=False, header=False))
    (tmp_path / "x.csv").write_text(text)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert len(answers(shell, tmp_path)) == len(SAMPLES)
    done = shell("predict", tmp_path / "m.safetensors", "-", "--json")
    assert [each["label"] for each in done.json["predictions"]] == answers(shell, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,d\n1,2,3\n", "has no column 'c': the model was trained on the columns 'a', 'b', 'c'"),
        ("a,b,c\n1,2,3\n1,x,3\n", "x.csv, line 3, column b: 'x' is not a finite number"),
        ("1,2,0.5\n1,,3\n", "x.csv, line 2, column 1: '' is not a finite number"),
        ("1,2,0\n1,nan,3\n", "x.csv, line 2, column 1: 'nan' is not a finite number"),
        ("1,2,3,4\n", "n at least 1: leave out the column of the target"),
        ("a,b,c\n", "holds no rows"),
    ],
)
def test_rows_that_cannot_be_read_are_errors_with_their_line(
    text: str, message: str, tmp_path: Path, shell: Shell, table: pandas.DataFrame
) -> None:
    (tmp_path / "x.csv").write_text(text)
    done = shell("predict", tmp_path / "m.safetensors", tmp_path / "x.csv")
    assert done.code == 2
    assert message in done.err


def test_csv_is_read_as_in_training_or_as_told(tmp_path: Path, shell: Shell) -> None:
    write_model(tmp_path / "m.safetensors", **TABLE, dialect={"delimiter": ";", "header": "Absent"})
    (tmp_path / "x.csv").write_text("0;1;2\n3.5;1;2\n")
    assert len(answers(shell, tmp_path)) == 2
    assert len(answers(shell, tmp_path, "x.csv", "--header", "Auto")) == 1
    (tmp_path / "x.csv").write_text("1,3,2\n3.5,1,2\n")
    assert len(answers(shell, tmp_path, "x.csv", "--delimiter", ",")) == 2


def test_an_origin_is_subtracted_before_values_become_float32(tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors", **TABLE | {"origin": [1.7e9, 0.0, 0.0], "scale": [2.0]})
    scaled = predict.load(tmp_path / "m.safetensors").scaled(np.array([[1.7e9 + 3, 1.5, 2]]))
    assert scaled.tolist() == [[6.0, 3.0, 4.0]]
