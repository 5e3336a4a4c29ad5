"""The TrainingJob of Python: fields in its words, errors in the spec's."""

import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.jobs import document
from helpers.models import brittle

from sapflow import DataError, SpecError, TrainingJob
from sapflow.client.session import uid_of
from sapflow.spec.document import parse
from sapflow.spec.learning import AlgorithmSpec

X, Y = np.arange(40, dtype=np.float32).reshape(20, 2), np.arange(20) % 2


def job(**changes: Any) -> TrainingJob:
    given: dict[str, Any] = {"model": "mlp", "data": "sklearn:iris", "workers": 4, "algorithm": {"steps": 5}}
    return TrainingJob("tiny", **(given | changes))


def written(made: TrainingJob) -> Any:
    return yaml.safe_load(made.to_yaml())


def refused(**changes: Any) -> str:
    with pytest.raises((SpecError, DataError)) as caught:
        job(**changes)
    return str(caught.value)


def test_python_and_yaml_say_the_same_job() -> None:
    same = TrainingJob(
        "tiny",
        model={"name": "mlp", "args": {"hidden": (8,)}},
        data={"source": "sklearn:iris", "batch_size": 8, "validation_fraction": 0.2},
        workers=4,
        algorithm={"steps": 5, "seed": 3},
        optimizer={"name": "Momentum", "learning_rate": 0.1},
        merge={"structure": (1, 2, 4), "channel": "Store"},
        evaluation={"every_steps": 2},
        limits={"retries": 100},
    )
    assert written(same) == document()
    assert uid_of(same.checked) == uid_of(parse(document()))


def test_yaml_is_read_from_a_file_a_path_or_a_text(tmp_path: Path) -> None:
    text = yaml.safe_dump(document())
    path = tmp_path / "job.yaml"
    path.write_text(text)
    for given in (text, path, str(path)):
        made = TrainingJob.from_yaml(given)
        assert (made.name, made.spec.workers, written(made)) == ("tiny", 4, document())


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.yaml cannot be read: No such file"):
        TrainingJob.from_yaml(tmp_path / "none.yaml")


def test_names_may_be_pythons_or_yamls_and_parts_may_be_models_of_the_spec() -> None:
    python = written(job(algorithm={"steps": 5, "local_steps": 2}))
    assert python == written(job(algorithm={"steps": 5, "localSteps": 2}))
    assert python == written(job(algorithm=AlgorithmSpec(steps=5, local_steps=2)))


def test_numpys_numbers_and_paths_are_written_as_plain_ones(tmp_path: Path) -> None:
    spec = written(job(data={"source": tmp_path}, optimizer={"learning_rate": np.float64(0.5)}))["spec"]
    assert spec["data"] == {"source": str(tmp_path)}
    assert spec["optimizer"] == {"learningRate": 0.5}


def test_a_name_alone_stands_for_a_part_that_has_one() -> None:
    spec = written(job(optimizer="Adam", prices="GoogleCloudRun", model="own:build"))["spec"]
    assert spec["optimizer"] == {"name": "Adam"}
    assert spec["prices"] == {"platform": "GoogleCloudRun"}
    assert spec["model"] == {"entrypoint": "own:build"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workers": 0}, r"spec\.workers: must be greater than or equal to 1, got 0"),
        ({"algorithm": {"epoch": 3}}, r"spec\.algorithm\.epoch: is not a field \(do you mean epochs\?\)"),
        ({"algorithm": {"epochs": 1, "steps": 1}}, r"spec\.algorithm: needs either epochs or steps"),
        ({"optimizer": "Adma"}, r"spec\.optimizer\.name: .*do you mean Adam\?"),
        (
            {"optimizer": {"learning_rate": 1, "learningRate": 2}},
            r"spec\.optimizer\.learningRate: is given twice, as learningRate too",
        ),
        ({"data": {"sorce": "sklearn:iris"}}, r"spec\.data\.source: is required"),
        ({"model": {"name": "mlp", "args": {"f": print}}}, r"spec\.model\.args\.f: is a builtin_function"),
        ({"data": object()}, r"spec\.data\.source: object is no kind of data: give NumPy arrays"),
        (
            {"data": X},
            r"spec\.data\.source: ndarray is no kind of data: give NumPy arrays \(features, targets\)",
        ),
        ({"data": {"source": (X, Y), "format": "npz"}}, r"spec\.data\.format: is of files"),
        (
            {"data": {"source": (X, Y), "options": {"target": 1}}},
            r"spec\.data\.source: options of arrays: target",
        ),
        ({"model": lambda: None}, r"spec\.model\.entrypoint: is a lambda"),
    ],
)
def test_what_is_wrong_is_said_by_its_path_in_the_spec(changes: dict[str, Any], words: str) -> None:
    assert re.search(words, refused(**changes))


def test_samples_are_named_by_what_is_in_them() -> None:
    first, same, other = (
        written(job(data={"source": each, "batch_size": 4}))["spec"]["data"]
        for each in ((X, Y), (X.copy(), Y.tolist()), (X, 1 - Y))
    )
    assert first == same
    assert re.fullmatch(r"memory:[0-9a-f]{16}", first["source"])
    assert first["batchSize"] == 4
    assert other["source"] != first["source"]


def test_a_factory_of_a_module_is_its_entrypoint_and_a_partial_gives_arguments() -> None:
    factory = functools.partial(brittle, limit=3.0)
    assert written(job(model=factory))["spec"]["model"] == {
        "entrypoint": "helpers.models:brittle",
        "args": {"limit": 3.0},
    }
    beside = job(model={"entrypoint": factory, "args": {"limit": 4.0}, "loss": "MSE"})
    assert written(beside)["spec"]["model"]["args"] == {"limit": 4.0}


def test_what_only_this_program_has_is_not_for_a_cluster() -> None:
    with pytest.raises(
        SpecError, match=r"spec\.data\.source: the samples are in the memory of this program.*numpy\.savez"
    ):
        job(data=(X, Y)).for_cluster()


def test_a_job_says_what_it_is() -> None:
    assert repr(job(data=(X, Y))) == "<TrainingJob tiny: mlp on samples in memory, 4 workers>"
