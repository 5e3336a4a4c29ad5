"""`sapflow.tune`: the TuningJob that it makes of what Python says. Searches with processes are tested elsewhere."""

from typing import Any

import pytest

import sapflow
from sapflow.client.search_fields import _direction, _parameter, document_of
from sapflow.spec import tuning_document
from sapflow.spec.tuning_job import TuningJob

RATE = "spec.optimizer.learningRate"
DOCUMENT: dict[str, Any] = {
    "metadata": {"name": "tiny"},
    "spec": {
        "model": {"name": "mlp", "args": {"hidden": [8]}},
        "data": {"source": "sklearn:iris"},
        "workers": 1,
        "algorithm": {"epochs": 2},
    },
}


@pytest.mark.parametrize(
    ("path", "values", "expected"),
    [
        ("optimizer.clipNorm", {"min": 0.5, "max": 1}, {"float": {"min": 0.5, "max": 1}}),
        (RATE, {"min": 1, "max": 4}, {"int": {"min": 1, "max": 4}}),
        ("workers", range(2, 9, 3), {"int": {"min": 2, "max": 8, "step": 3}}),
        ("data.batchSize", [16, 32], {"categorical": {"choices": [16, 32]}}),
        ("workers", {"int": {"min": 1, "max": 2}}, {"int": {"min": 1, "max": 2}}),
        (
            "optimizer.momentum",
            {"min": 0.0, "max": 0.9, "when": {"path": "spec.optimizer.name", "values": ["Momentum"]}},
            {
                "float": {"min": 0.0, "max": 0.9},
                "when": {"path": "spec.optimizer.name", "values": ["Momentum"]},
            },
        ),
    ],
)  # fmt: skip
def test_a_space_in_python_is_the_parameters_of_yaml(
    path: str, values: Any, expected: dict[str, Any]
) -> None:
    full = path if path.startswith("spec.") else f"spec.{path}"
    assert _parameter(path, values) == {"path": full, **expected}


def test_a_metric_that_is_better_when_it_is_higher_is_maximized() -> None:
    assert _direction("accuracy") == "Maximize"
    assert _direction("loss") == _direction("dollars") == "Minimize"


def made(**changes: Any) -> TuningJob:
    fields: dict[str, Any] = {
        "metric": "loss", "direction": None, "goal": None, "trials": 3, "parallel_trials": None, "max_workers": 2,
        "search": "TPE", "prune": "None", "initial": None, "spec": {},
    }  # fmt: skip
    space = {"optimizer.learningRate": {"min": 0.01, "max": 1.0}}
    return tuning_document.parse(document_of(DOCUMENT, space, **(fields | changes)))


def test_what_is_left_out_is_left_out_of_the_document_and_bad_fields_are_named() -> None:
    job = made()
    assert job.spec.max_trials == 3
    assert job.spec.objective.goal is None
    assert made(spec={"order": "InOrder"}).spec.in_order
    with pytest.raises(sapflow.SpecError, match=r"spec\.maxTrials"):
        made(trials=0)


def test_tune_takes_a_job() -> None:
    with pytest.raises(TypeError, match="TrainingJob"):
        sapflow.tune("job.yaml", {})  # type: ignore[arg-type]
