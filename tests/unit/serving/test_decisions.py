"""What is decided of outputs: classes, thresholds, costs, abstention, labels, values, boxes, and what is said of it."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapflow.errors import SpecError
from sapflow.serving.boxes import suppressed
from sapflow.serving.decisions import Decisions
from sapflow.serving.description import Description
from sapflow.spec.serving.decision import DecisionSpec


def about(task: str, outputs: int, **more: Any) -> Description:
    return Description.model_validate(
        {
            "model": {"name": "mlp"},
            "inputs": [4],
            "outputs": outputs,
            "task": task,
            "scale": [1],
            "shift": [0],
            **more,
        }
    )


THREE = about("classification", 3, classes=3, classNames=["early", "late", "never"])
TWO = about("classification", 1, classes=2, classNames=["on time", "late"])


def logits(*chances: float) -> np.ndarray:
    return np.log(np.array([chances], np.float32))


def decided(description: Description, outputs: np.ndarray, row: Any = None, **spec: Any) -> dict[str, Any]:
    decisions = Decisions(description, DecisionSpec.model_validate(spec))
    (found,) = decisions.of(outputs, None if row is None else [row])
    return found


def test_the_likeliest_class_is_decided_for() -> None:
    found = decided(THREE, logits(0.2, 0.5, 0.3))
    assert found == {"label": "late", "probability": pytest.approx(0.5)}


def test_all_probabilities_and_the_likeliest_classes_are_told_where_they_are_asked_for() -> None:
    outputs = logits(0.2, 0.5, 0.3)
    everything = decided(THREE, outputs, answer="Probabilities")
    assert everything["probabilities"] == pytest.approx({"early": 0.2, "late": 0.5, "never": 0.3})
    top = decided(THREE, outputs, answer="TopK", topK=2)
    assert [each["label"] for each in top["top"]] == ["late", "never"]


def test_a_class_that_reaches_its_threshold_comes_before_a_likelier_one_without() -> None:
    outputs = np.array([[np.log(0.4 / 0.6)]], np.float32)  # late: 0.4
    assert decided(TWO, outputs)["label"] == "on time"
    assert decided(TWO, outputs, thresholds={"late": 0.3})["label"] == "late"
    assert decided(TWO, outputs, thresholds={"late": 0.45})["label"] == "on time"


def test_of_several_classes_over_their_thresholds_the_one_furthest_above_is_decided_for() -> None:
    outputs = logits(0.5, 0.3, 0.2)
    assert decided(THREE, outputs, thresholds={"early": 0.4, "late": 0.1})["label"] == "late"


def test_a_decision_abstains_where_no_class_reaches_its_threshold() -> None:
    every = {"early": 0.9, "late": 0.9, "never": 0.9}
    found = decided(THREE, logits(0.2, 0.5, 0.3), thresholds=every, abstain={"label": "ask somebody"})
    assert found == {"label": "ask somebody", "probability": pytest.approx(0.5), "abstained": True}


def test_a_decision_abstains_below_a_probability() -> None:
    assert decided(THREE, logits(0.2, 0.5, 0.3), abstain={"below": 0.6})["abstained"] is True
    assert "abstained" not in decided(THREE, logits(0.2, 0.7, 0.1), abstain={"below": 0.6})


def test_the_decision_of_least_expected_cost_is_taken() -> None:
    costs = [[0, 1, 1], [1, 0, 1], [20, 20, 0]]  # to miss `never` is dear
    outputs = logits(0.2, 0.7, 0.1)
    assert decided(THREE, outputs, costs=costs)["label"] == "never"
    assert decided(THREE, outputs, costs=costs, abstain={"cost": 0.5})["abstained"] is True


def test_each_of_several_labels_has_a_threshold_of_its_own() -> None:
    several = about("multilabel", 3)
    outputs = np.array([[0.1, -1.0, -0.5]], np.float32)
    assert decided(several, outputs)["labels"] == [0]
    assert decided(several, outputs, thresholds={"0": 0.9, "1": 0.2})["labels"] == [1]


def test_values_are_in_the_units_of_the_targets() -> None:
    scaled = about("regression", 1, targetStatistics={"mean": [10.0], "deviation": [2.0]})
    assert decided(scaled, np.array([[1.5]], np.float32)) == {"value": 13.0}
    assert decided(about("regression", 2), np.array([[1, 2]], np.float32)) == {"values": [1, 2]}


def test_a_message_names_decision_and_row() -> None:
    found = decided(
        THREE,
        logits(0.2, 0.5, 0.3),
        {"carrier": "UA", "distance": 1416.0},
        message="{row.carrier} is {label} ({probability:.0%}, {row.distance:.1f}){row.absent}",
        messages={"never": "gone"},
    )
    assert found["message"] == "UA is late (50%, 1416.0)"
    assert decided(THREE, logits(0.1, 0.1, 0.8), {}, messages={"never": "gone"})["message"] == "gone"
    assert "message" not in decided(THREE, logits(0.8, 0.1, 0.1), {}, messages={"never": "gone"})


@pytest.mark.parametrize(
    ("description", "spec", "words"),
    [
        (THREE, {"thresholds": {"on time": 0.1}}, "names on time, which is no class"),
        (THREE, {"messages": {"Late": "x"}}, "names Late, which is no class"),
        (THREE, {"costs": [[0, 1], [1, 0]]}, "the model has 3 classes"),
        (THREE, {"boxes": {"classes": ["a"]}}, "this model decides for classes"),
        (about("regression", 1), {"thresholds": {"a": 0.5}}, "predicts values"),
        (about("regression", 11), {"boxes": {"classes": ["a", "b"]}}, "no multiple"),
        (about("multilabel", 2), {"costs": [[0, 1], [1, 0]]}, "several labels"),
    ],
)
def test_a_decision_about_another_kind_of_model_is_refused(
    description: Description, spec: Any, words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        Decisions(description, DecisionSpec.model_validate(spec))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [max(each[2] - each[0], 0) * max(each[3] - each[1], 0) for each in (one, other)]
    return float(shared / (sum(areas) - shared)) if sum(areas) > shared else 0.0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 20)] * 4), max_size=12), st.sampled_from([0.0, 0.3, 0.5, 0.9]))
def test_boxes_that_stay_overlap_little_and_all_others_overlap_one_that_stays(
    found: Any, most: float
) -> None:
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in found], np.float64).reshape(-1, 4)
    stay = suppressed(corners, most).tolist()
    assert all(overlap(corners[one], corners[two]) <= most for one, two in combinations(stay, 2))
    for number in set(range(len(corners))) - set(stay):
        assert any(each < number and overlap(corners[each], corners[number]) > most for each in stay)


def test_boxes_of_a_detector_are_suppressed_class_by_class() -> None:
    detector = about("regression", 18)
    first, same, other = [0, 0, 10, 10], [1, 1, 10, 10], [5, 5, 4, 4]
    outputs = np.array([[*first, 3, -9, *same, 2, 1, *other, -9, -8]], np.float32)
    found = decided(detector, outputs, boxes={"classes": ["cat", "dog"]}, message="{count} animals")
    assert [(each["label"], each["corners"]) for each in found["boxes"]] == [
        ("cat", [0.0, 0.0, 10.0, 10.0]),
        ("dog", [1.0, 1.0, 10.0, 10.0]),
    ]
    assert found["message"] == "2 animals"
    centred = decided(
        detector,
        outputs,
        boxes={"classes": ["cat", "dog"], "coordinates": "Centers", "minScore": 0.9, "most": 1},
    )
    assert centred["boxes"][0]["corners"] == [-5.0, -5.0, 5.0, 5.0]
