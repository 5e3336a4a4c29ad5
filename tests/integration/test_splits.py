"""Jobs with held-out samples of their own, from `validate` to `predict`: a second source, strata, groups."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from helpers.commands import Shell, write_job

import sapflow
from sapflow.client import predict
from sapflow.errors import DataError, SpecError

pytestmark = pytest.mark.usefixtures("forked_functions")

RNG = np.random.default_rng(2)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def frame(rows: int) -> pandas.DataFrame:
    """Rows whose label follows from a and b, and a column that is no use."""
    a, b = RNG.normal(size=rows), RNG.normal(size=rows) * 10 + 100
    label = np.where(a > 0, np.where(b > 100, "both", "left"), "none")
    return pandas.DataFrame({"a": a, "b": b, "label": label})


FIELDS: dict[str, Any] = {
    "workers": 2,
    "merge_structure": None,
    "data_validationFraction": None,
    "algorithm_steps": 40,
    "evaluation_everySteps": 20,
}


def run(shell: Shell, job: Path, store: Path, *options: object) -> Any:
    return shell("run", job, "--store", store, "--json", "--max-instances", 1, *options)


def test_a_job_is_evaluated_on_a_source_of_its_own_and_predicts_in_words(
    tmp_path: Path, shell: Shell
) -> None:
    train, held, store = frame(400), frame(90), tmp_path / "store"
    train.to_csv(tmp_path / "train.csv", index=False)
    held[["label", "b", "a"]].to_parquet(tmp_path / "held.parquet")
    validation = {"source": str(tmp_path / "held.parquet")}
    fields = FIELDS | {"data_source": str(tmp_path / "train.csv"), "data_options": {"target": "label"}}
    job = write_job(tmp_path / "job.yaml", **fields, data_validation=validation)
    told = shell("validate", job)
    assert "400 samples, 90 held out, of 2" in told.out, told.err
    assert f"  held    {validation['source']}\n" in told.out
    assert shell("validate", job, "--json").json["data"]["validation"] == validation["source"]
    done = run(shell, job, store)
    assert done.code == 0, done.err
    accuracy = done.json["validationAccuracy"]
    held[["b", "a"]].to_csv(tmp_path / "asked.csv", index=False)
    answers = shell("predict", job, tmp_path / "asked.csv", "--store", store, "--json").json["predictions"]
    found = [each["label"] for each in answers]
    assert np.mean(np.array(found) == held["label"].to_numpy()) == pytest.approx(accuracy)
    assert accuracy > 0.7
    held.assign(label="none").to_parquet(tmp_path / "held.parquet")
    refused = run(shell, job, store)
    assert refused.json["error"]["reason"] == "InputsChanged"
    assert "held.parquet" in refused.json["error"]["message"]


def test_groups_are_held_out_and_predict_needs_no_group(tmp_path: Path, shell: Shell) -> None:
    rows, store = frame(400), tmp_path / "store"
    rows.insert(1, "who", [f"p{each}" for each in RNG.integers(0, 80, 400)])
    rows.to_csv(tmp_path / "s.csv", index=False)
    fields = FIELDS | {"data_source": str(tmp_path / "s.csv"), "data_options": {"group": "who"}}
    job = write_job(tmp_path / "job.yaml", **fields)
    told = shell("validate", job, "--json").json["data"]
    done = run(shell, job, store)
    assert done.code == 0, done.err
    rows[["b", "a"]].to_csv(tmp_path / "asked.csv", index=False)
    answers = shell("predict", job, tmp_path / "asked.csv", "--store", store, "--json").json["predictions"]
    assert len(answers) == 400
    model = predict.load(next(store.glob("jobs/*/result/model.safetensors")))
    assert model.predict(rows).tolist() == [each["label"] for each in answers]
    assert 0.1 < told["validationShare"] < 0.3
    assert told["trainSamples"] + told["validationSamples"] == 400


def test_what_is_wrong_is_said_by_validate_and_run_alike(tmp_path: Path, shell: Shell) -> None:
    frame(60).to_csv(tmp_path / "train.csv", index=False)
    frame(30).drop(columns="b").to_csv(tmp_path / "held.csv", index=False)
    validation = {"source": str(tmp_path / "held.csv")}
    job = write_job(
        tmp_path / "job.yaml", **FIELDS, data_source=str(tmp_path / "train.csv"), data_validation=validation
    )
    for done in (shell("validate", job, "--json"), run(shell, job, tmp_path / "store")):
        assert done.code != 0
        message = done.json["error"]["message"]
        assert "held.csv lacks 'b', compared with" in message
        assert message.startswith("spec.data: ")


# Samples of a Python program


def python_job(data: Any) -> sapflow.TrainingJob:
    return sapflow.TrainingJob("held", model="mlp", data=data, workers=2, algorithm={"steps": 4})


@pytest.mark.parametrize("kind", ["frame", "arrays", "dataset"])
def test_samples_in_memory_are_evaluated_on_others(kind: str, tmp_path: Path) -> None:
    train, held = frame(60), frame(20)
    arrays = [(each[["a", "b"]].to_numpy(), (each["a"] > 0).astype(int).to_numpy()) for each in (train, held)]
    given: dict[str, tuple[Any, Any]] = {
        "frame": (train, held[["b", "label", "a"]]),
        "arrays": (arrays[0], arrays[1]),
        "dataset": (Pairs(*arrays[0]), Pairs(*arrays[1])),
    }
    one, other = given[kind]
    job = python_job({"source": one, "validation": {"source": other}, "batch_size": 8})
    done = sapflow.run(job, store=tmp_path / "store", progress=False, max_instances=1)
    assert done.result.accuracy in {part / 20 for part in range(21)}
    with job.resolved() as (document, _):
        data = document["spec"]["data"]
    assert data["source"] == data["validation"]["source"]
    assert data["source"].startswith("memory:")
    with python_job({"source": one, "batch_size": 8}).resolved() as (document, _):
        assert document["spec"]["data"]["source"] != data["source"]


class Pairs:
    """A Dataset."""

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self._pairs = list(zip(features, labels, strict=True))

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Any:
        return self._pairs[index]


def test_samples_in_memory_and_files_do_not_mix(tmp_path: Path) -> None:
    held = frame(20)
    held.to_csv(tmp_path / "held.csv", index=False)
    for one, other in ((frame(40), str(tmp_path / "held.csv")), (str(tmp_path / "held.csv"), held)):
        with pytest.raises(SpecError, match=r"spec\.data\.validation\.source"):
            python_job({"source": one, "validation": {"source": other}})
    with pytest.raises(DataError, match="the DataFrame for validation lacks 'b'"):
        python_job({"source": frame(40), "validation": {"source": held.drop(columns="b")}})


def test_groups_of_a_frame_are_part_of_its_name(tmp_path: Path) -> None:
    rows = frame(40)
    names = []
    for who in (np.arange(40) // 4, np.arange(40) // 2):
        job = python_job({"source": rows.assign(who=who), "options": {"group": "who", "target": "label"}})
        with job.resolved() as (document, source):
            assert source is not None
            names.append(document["spec"]["data"]["source"])
    assert names[0] != names[1]
