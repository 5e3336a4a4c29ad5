"""What the manifest keeps of targets, and what an old one lacks."""

import json
from typing import Any

import numpy as np
import pytest
from helpers.jobs import tiny_job

from sapflow.data.manifest import Manifest
from sapflow.errors import CorruptObject
from sapflow.tasks.registry import TASKS, task_for
from sapflow.tasks.targets import Targets
from sapflow.tasks.task import MOST_COUNTED, Task

RECORD = {
    "version": 1, "source": "set", "shape": [4], "dtype": "float32", "train": [10], "validation": [5],
    "scale": [1.0], "shift": [0.0],
}  # fmt: skip


def test_classes_are_counted_over_pieces_of_any_classes() -> None:
    counted = TASKS["classification"].counted()
    for piece in ([0, 0, 3], [1], [0, 5]):
        counted.add(np.array(piece, np.int32))
    assert counted.finish() == {"counts": (3, 1, 0, 1, 0, 1)}


def test_more_classes_than_are_counted_are_left_out() -> None:
    counted = TASKS["classification"].counted()
    counted.add(np.array([MOST_COUNTED], np.int32))
    assert counted.finish() == {}


def test_labels_are_counted_with_their_samples() -> None:
    counted = TASKS["multilabel"].counted()
    counted.add(np.array([[0, 1], [1, 1]], np.float32))
    counted.add(np.array([[0, 1]], np.float32))
    assert counted.finish() == {"counts": (1, 3), "samples": (3,)}


def test_values_have_mean_and_deviation_which_is_1_where_nothing_changes() -> None:
    counted = TASKS["regression"].counted()
    counted.add(np.array([[1, 7], [3, 7]], np.float32))
    assert counted.finish() == {"mean": (2, 7), "deviation": (1, 1)}


def test_a_manifest_of_an_earlier_release_is_read_and_has_no_statistics() -> None:
    record = {**RECORD, "task": "classification", "target_shape": [], "classes": 3}
    manifest = Manifest.from_json(record)
    assert manifest.target_statistics == {}
    assert json.loads(json.dumps(manifest.to_json())) == record


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"task": "ranking"}, "task"),
        ({"task": ["classification"]}, "task"),
        ({"task": "classification", "target_shape": [2]}, "target_shape"),
        ({"task": "classification", "classes": 1}, "classes"),
        ({"task": "regression"}, "classes"),
        ({"task": "multilabel", "classes": None}, "target_shape"),
        ({"task": "multilabel", "target_shape": [3]}, "classes"),
        ({"task": "regression", "classes": None, "target_shape": [2, 2]}, "target_shape"),
    ],
)
def test_a_manifest_that_cannot_be_of_its_task_is_refused(changes: dict[str, object], field: str) -> None:
    record = {**RECORD, "task": "classification", "target_shape": [], "classes": 3, **changes}
    with pytest.raises(CorruptObject, match=f"field {field} is wrong"):
        Manifest.from_json(record)


def test_statistics_that_are_no_numbers_are_refused() -> None:
    record = {**RECORD, "task": "regression", "target_shape": [], "classes": None}
    with pytest.raises(CorruptObject, match=r"target_statistics\.mean is no list of numbers"):
        Manifest.from_json({**record, "target_statistics": {"mean": ["x"]}})
    with pytest.raises(CorruptObject, match="target_statistics is no JSON object"):
        Manifest.from_json({**record, "target_statistics": [1]})


@pytest.mark.parametrize(
    ("name", "targets", "outputs", "losses", "metrics"),
    [
        (
            "classification",
            Targets(classes=2),
            1,
            "BinaryCrossEntropy Hinge SquaredHinge",
            "accuracy macroF1 auc loss",
        ),
        ("classification", Targets(classes=10), 10, "CrossEntropy", "accuracy macroF1 loss"),
        ("classification", Targets(classes=5000), 5000, "CrossEntropy", "accuracy loss"),
        ("multilabel", Targets((7,)), 7, "BinaryCrossEntropy", "accuracy exactMatch macroF1 loss"),
        ("regression", Targets(), 1, "MSE L1 Huber", "r2 mae rmse loss"),
        ("regression", Targets((5000,)), 5000, "MSE L1 Huber", "mae rmse loss"),
    ],
)
def test_a_task_says_its_outputs_losses_and_metrics(
    name: str, targets: Targets, outputs: int, losses: str, metrics: str
) -> None:
    task = task_for(name, targets)
    assert task.outputs == outputs
    assert task.losses == tuple(losses.split())
    assert task.metrics == tuple(metrics.split())


def test_an_evaluation_computes_what_is_named_else_the_usual() -> None:
    task = task_for("classification", Targets(classes=2))
    values = task_for("regression", Targets())

    def names(of: Task, **changes: Any) -> list[str]:
        measures = of.measures(tiny_job(**changes).spec, 100)
        return [each.metric.name for each in measures]

    assert names(task) == ["accuracy", "macroF1", "auc"]
    assert names(task, evaluation_metrics=["auc"]) == ["auc"]
    assert names(task, evaluation_metrics=["loss"], evaluation_keepBest="accuracy") == ["accuracy"]
    assert names(values) == ["r2", "mae"]
    assert names(values, algorithm_target={"metric": "rmse", "value": 1}) == ["r2", "mae", "rmse"]
