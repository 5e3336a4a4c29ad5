"""What a job takes over of a search's trial."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.jobs import document

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.spec.parameters import ParameterSpec
from sapflow.tuning.found_parameters import FoundParameters, job_with, read_found, trained_with

RATE, MOMENTUM, NAME = "spec.optimizer.learningRate", "spec.optimizer.momentum", "spec.optimizer.name"
SEARCHED = [
    ParameterSpec.model_validate(each)
    for each in (
        {"path": NAME, "categorical": {"choices": ["SGD", "Momentum"]}},
        {"path": RATE, "float": {"min": 0.01, "max": 1.0}},
        {
            "path": MOMENTUM,
            "float": {"min": 0.1, "max": 0.99},
            "when": {"path": NAME, "values": ["Momentum"]},
        },
    )
]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = open_store(str(tmp_path))
    _write(found, "result/outcome.json", {"trial": 3, "parameters": {NAME: "SGD", RATE: 0.5}})
    _write(found, "trials/1/spec.json", document(optimizer_name="Momentum", optimizer_momentum=0.7))
    return found


def _write(store: Store, name: str, body: Any) -> None:
    store.create(f"{keys.job('search')}{name}", json.dumps(body).encode())


def test_the_best_trial_s_values_are_those_of_the_search_s_result(store: Store) -> None:
    found = read_found(store, "search", SEARCHED)
    assert found == FoundParameters(3, {NAME: "SGD", RATE: 0.5}, (MOMENTUM,))


def test_another_trial_s_values_are_those_of_its_own_spec(store: Store) -> None:
    found = read_found(store, "search", SEARCHED, 1)
    assert found is not None
    assert found.trial == 1
    assert found.values[MOMENTUM] == 0.7
    assert found.absent == ()


def test_a_trial_of_which_nothing_is_kept_is_refused_by_field_and_remedy(store: Store) -> None:
    with pytest.raises(
        SpecError, match=r"spec\.parametersFrom\.trial: search/trials/2 is not kept.* name another"
    ):
        read_found(store, "search", SEARCHED, 2)


def test_a_search_without_a_result_has_found_nothing_yet(tmp_path: Path) -> None:
    assert read_found(open_store(str(tmp_path)), "search", SEARCHED) is None


def test_a_search_that_ended_without_a_best_trial_asks_for_one_by_number(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    _write(store, "result/outcome.json", {"trials": {"begun": 1}})
    with pytest.raises(SpecError, match=r"name one by spec\.parametersFrom\.trial"):
        read_found(store, "search", SEARCHED)


def test_values_take_the_places_of_the_job_s_own_and_what_the_trial_lacks_goes() -> None:
    job = document(optimizer_name="Momentum", optimizer_momentum=0.9, parametersFrom={"search": "a"})
    made = trained_with(job, FoundParameters(3, {NAME: "SGD", RATE: 0.5}, (MOMENTUM,)))
    assert made["spec"]["optimizer"] == {"name": "SGD", "learningRate": 0.5}
    assert made["spec"]["parametersFrom"] == {"search": "a", "trial": 3}


def test_values_that_do_not_go_with_the_rest_of_the_job_are_told_with_the_trial() -> None:
    job = document(parametersFrom={"search": "a"})
    with pytest.raises(SpecError, match=r"spec\.algorithm: needs either epochs or steps") as refused:
        job_with(job, FoundParameters(3, {"spec.algorithm.epochs": 2}), "local")
    assert refused.value.__notes__ == ["(with the parameters of trial 3 of a)"]


def test_a_parameter_without_a_place_is_told_by_its_path() -> None:
    job = document(parametersFrom={"search": "a"})
    with pytest.raises(SpecError, match=r"spec\.parametersFrom\.search: has a parameter, spec\.workers\.of"):
        trained_with(job, FoundParameters(3, {"spec.workers.of": 2}))
