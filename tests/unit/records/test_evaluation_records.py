"""Records of evaluations: what an earlier release wrote is read, and what is not finite is said as null."""

import json
import math

import pytest

from sapflow.records.commits import plain_json
from sapflow.records.evaluations import chosen_in_words, held_out, metrics_of, of_held_out, record_of


def test_a_record_gives_back_its_metrics() -> None:
    values = {"loss": 0.5, "accuracy": 0.75, "macroF1": 0.25, "auc": math.nan}
    record = record_of(7, 100, values)
    assert (record["version"], record["samples"], record["loss"], record["accuracy"]) == (7, 100, 0.5, 0.75)
    found = metrics_of(json.loads(json.dumps(plain_json(record))))
    assert math.isnan(found.pop("auc"))
    assert found == {"loss": 0.5, "accuracy": 0.75, "macroF1": 0.25}


def test_a_record_of_an_earlier_release_is_read() -> None:
    assert metrics_of({"version": 2, "samples": 5, "loss": 0.5, "accuracy": 0.75}) == {
        "loss": 0.5, "accuracy": 0.75,
    }  # fmt: skip
    assert math.isnan(metrics_of({"version": 2, "samples": 5, "loss": None})["loss"])


def test_a_record_of_values_has_no_accuracy() -> None:
    assert record_of(1, 9, {"loss": 1.0}) == {"version": 1, "samples": 9, "loss": 1.0}


def test_results_have_loss_and_accuracy_by_themselves_and_others_below_where_they_are_finite() -> None:
    body = held_out({"loss": math.nan, "r2": 0.5, "mae": math.inf})
    assert math.isnan(body.pop("validationLoss"))
    assert body == {"validationMetrics": {"r2": 0.5}}
    body = held_out({"loss": 1.0, "accuracy": 0.5})
    assert body == {"validationLoss": 1.0, "validationAccuracy": 0.5}
    assert of_held_out({**body, "validationMetrics": {"auc": 0.25}, "version": 3}) == {
        "loss": 1.0, "accuracy": 0.5, "auc": 0.25,
    }  # fmt: skip
    assert of_held_out({"validationLoss": None}) == {}


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        ({"targetReached": True, "chosenBy": "Target"}, "the first that reached the target"),
        ({"targetReached": True}, "the first that reached the target"),
        ({"targetReached": False, "chosenBy": "Best"}, "the best that was evaluated"),
        ({"chosenBy": "EarlyStopping"}, "where early stopping ended the job"),
        ({"targetReached": False, "chosenBy": "LastStep"}, ""),
        ({}, ""),
    ],
)
def test_why_a_version_is_the_result_in_words(outcome: dict[str, object], text: str) -> None:
    assert chosen_in_words(outcome) == text
