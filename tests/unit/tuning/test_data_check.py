"""What is wrong with a search that its data tells, before any trial is trained."""

import pytest
from helpers.searches import search_job

from sapflow.data.manifest import Manifest
from sapflow.errors import SpecError
from sapflow.tuning.data_check import check_data


def manifest(classes: int = 3, held_out: int = 30, samples: int = 120) -> Manifest:
    return Manifest("test", "classification", (4,), "float32", (), classes, (samples,), (held_out,))


@pytest.mark.parametrize(
    ("metric", "direction"), [("accuracy", "Maximize"), ("loss", "Minimize"), ("dollars", "Minimize")]
)
def test_objectives_that_every_evaluation_has_or_that_need_none(metric: str, direction: str) -> None:
    check_data(search_job(objective={"metric": metric, "direction": direction}), manifest())


@pytest.mark.parametrize(
    ("metric", "found", "said"),
    [
        ("acuracy", manifest(), "there is no metric 'acuracy': classification of 3 classes has accuracy"),
        ("auc", manifest(), "there is no metric 'auc'"),
        ("accuracy", manifest(held_out=0), "set spec.template.spec.data.validationFraction above 0"),
    ],
)
def test_an_objective_that_no_evaluation_would_have_is_refused(
    metric: str, found: Manifest, said: str
) -> None:
    with pytest.raises(SpecError) as caught:
        check_data(search_job(objective={"metric": metric, "direction": "Maximize"}), found)
    ((field, message),) = caught.value.problems
    assert field == "spec.objective.metric"
    assert said in message


def test_a_second_objective_is_checked_too() -> None:
    second = {"metric": "rmse", "direction": "Minimize"}
    with pytest.raises(SpecError, match=r"spec\.secondObjective\.metric: there is no metric 'rmse'"):
        check_data(search_job(secondObjective=second), manifest())


def test_problems_of_the_template_are_told_by_its_fields() -> None:
    with pytest.raises(SpecError, match=r"spec\.template\.spec\.data\.source: has no training samples"):
        check_data(search_job(), manifest(samples=0))
