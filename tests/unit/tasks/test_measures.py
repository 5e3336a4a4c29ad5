"""Metrics against scikit-learn's, and that they are the same however the samples are divided among batches."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from sapflow.tasks import measures
from sapflow.tasks.measures import Measure


def value(measure: Measure, outputs: np.ndarray, targets: np.ndarray, batches: Sequence[int] = ()) -> float:
    """The metric, its sums taken of batches that end at the given places, and passed on as text."""
    sums: dict[str, float] = {}
    bounds = [0, *sorted(batches), len(targets)]
    for begin, end in pairwise(bounds):
        if begin < end:
            for name, each in measure.sums(outputs[begin:end], targets[begin:end]).items():
                assert name.startswith(measure.metric.name)
                sums[name] = float.fromhex(sums.get(name, 0.0).hex()) + each
    return measure.value(sums, len(targets))


def logits(samples: int, outputs: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(samples, outputs)).astype(np.float32)


def labels(samples: int, classes: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, samples)


@pytest.mark.parametrize("classes", [3, 10, 2000])
def test_accuracy_and_macro_f1_of_classes_are_scikit_learns(classes: int) -> None:
    outputs, targets = logits(500, classes), labels(500, classes)
    # Half are right, so that there are hits of every size.
    outputs[np.arange(0, 500, 2), targets[::2]] += 10
    predicted = outputs.argmax(1)
    wanted = sklearn.f1_score(targets, predicted, average="macro", zero_division=0)
    assert value(measures.MacroF1(), outputs, targets, [7, 300]) == pytest.approx(wanted, rel=1e-12)
    assert value(measures.Accuracy(), outputs, targets, [499]) == sklearn.accuracy_score(targets, predicted)


def test_macro_f1_leaves_out_classes_that_are_neither_true_nor_predicted() -> None:
    outputs = np.array([[3, 0, 0, 0], [3, 0, 0, 0], [0, 3, 0, 0]], np.float32)
    targets = np.array([0, 1, 1])
    assert value(measures.MacroF1(), outputs, targets) == pytest.approx(2 / 3)


def test_one_logit_predicts_class_1_by_its_sign() -> None:
    outputs, targets = logits(200, 1), labels(200, 2)
    predicted = (outputs[:, 0] > 0).astype(int)
    assert value(measures.Accuracy(), outputs, targets) == sklearn.accuracy_score(targets, predicted)
    wanted = sklearn.f1_score(targets, predicted, average="macro")
    assert value(measures.MacroF1(), outputs, targets, [50]) == pytest.approx(wanted, rel=1e-12)


def test_metrics_of_several_labels_are_scikit_learns() -> None:
    outputs = logits(300, 6)
    targets = (outputs + logits(300, 6, 5) > 0.5).astype(np.float32)
    targets[:, 4], targets[:, 5] = 0, 1  # a label that is nowhere, one that is everywhere
    outputs[:, 4] = -1
    predicted = outputs > 0
    wanted = sklearn.f1_score(targets, predicted, average="macro", zero_division=0)
    assert value(measures.MacroF1(6), outputs, targets, [100, 101]) == pytest.approx(wanted, rel=1e-12)
    exact = sklearn.accuracy_score(targets, predicted)
    assert value(measures.ExactMatch(), outputs, targets, [9]) == pytest.approx(exact, rel=1e-12)
    each = 1 - sklearn.hamming_loss(targets, predicted)
    assert value(measures.LabelAccuracy(), outputs, targets, [9]) == pytest.approx(each, rel=1e-12)


def test_auc_is_scikit_learns_with_ties_and_both_zeros() -> None:
    targets = labels(1000, 2)
    scores = np.round(logits(1000, 1)[:, 0] + targets * 0.7, 1).astype(np.float32)[:, None]
    scores[:10], scores[10:20] = 0.0, -0.0
    wanted = sklearn.roc_auc_score(targets, scores[:, 0])
    assert value(measures.Auc(1000), scores, targets, [1, 400]) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("spread", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("apart", [0.0, 1.0, 4.0])
def test_auc_of_many_samples_is_off_by_little_and_its_sums_stay_few(spread: float, apart: float) -> None:
    count = 50_000
    targets = labels(count, 2)
    scores = ((logits(count, 1)[:, 0] + apart * targets) * np.float32(spread))[:, None]
    measure = measures.Auc(count)
    assert len(measure.sums(scores, targets)) < 10_000
    wanted = sklearn.roc_auc_score(targets, scores[:, 0])
    assert value(measure, scores, targets, range(0, count, 1000)) == pytest.approx(wanted, abs=1e-4)


def test_auc_of_one_class_or_of_scores_that_are_no_numbers_is_not_defined() -> None:
    assert math.isnan(value(measures.Auc(3), logits(3, 1), np.ones(3)))
    scores = np.array([[1.0], [np.nan], [0.5]], np.float32)
    assert math.isnan(value(measures.Auc(3), scores, np.array([0, 1, 1]), [2]))


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("centre", [0.0, 1e6])
def test_metrics_of_values_are_scikit_learns_also_far_from_zero(outputs: int, centre: float) -> None:
    rng = np.random.default_rng(3)
    targets = (centre + rng.normal(size=(400, outputs))).astype(np.float32)
    predicted = targets.astype(np.float64) + rng.normal(scale=0.5, size=targets.shape)
    near = np.full(outputs, centre + 0.1)
    found = value(measures.Determination(near), predicted, targets, [3, 250])
    truth = targets.astype(np.float64)
    assert found == pytest.approx(sklearn.r2_score(truth, predicted), rel=1e-9)
    absolute = sklearn.mean_absolute_error(truth, predicted)
    assert value(measures.AbsoluteError(), predicted, targets, [3]) == pytest.approx(absolute, rel=1e-9)
    squared = math.sqrt(sklearn.mean_squared_error(truth, predicted))
    assert value(measures.RootSquaredError(), predicted, targets, [3]) == pytest.approx(squared, rel=1e-9)


def test_r2_of_a_target_that_never_changes_is_1_where_it_is_hit_and_else_0() -> None:
    targets = np.full((50, 2), 0.3, np.float32)
    predicted = targets.astype(np.float64)
    measure = measures.Determination(np.array([0.1, 0.1]))
    assert value(measure, predicted, targets, [20]) == sklearn.r2_score(targets, predicted) == 1
    predicted = predicted + np.array([0.0, 0.5])
    assert value(measure, predicted, targets, [20]) == sklearn.r2_score(targets, predicted) == 0.5


@given(batches=st.lists(st.integers(1, 59), max_size=8), seed=st.integers(0, 1000))
def test_metrics_that_count_do_not_depend_on_how_samples_are_divided(batches: list[int], seed: int) -> None:
    scores, many = logits(60, 1, seed), logits(60, 4, seed)
    two, four = labels(60, 2, seed), labels(60, 4, seed)
    for measure, outputs, targets in (
        (measures.Accuracy(), many, four),
        (measures.MacroF1(), many, four),
        (measures.Auc(60), scores, two),
        (measures.MacroF1(4), many, (many[::-1] > 0).astype(np.float32)),
    ):
        assert value(measure, outputs, targets, batches) == value(measure, outputs, targets)
