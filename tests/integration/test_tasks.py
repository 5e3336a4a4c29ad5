"""Whole jobs of each task: their losses, their metrics, and predictions in the units of the data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.jobs import Place, Simulation, make_place, tiny_job
from sklearn import metrics as sklearn

from sapflow.client import predict
from sapflow.client.predict import Predictor
from sapflow.data.cut import check_data
from sapflow.data.sampler import Reader
from sapflow.errors import DataError, SpecError
from sapflow.objects import keys
from sapflow.spec.training_job import TrainingJob

FEATURES = np.random.default_rng(5).normal(size=(200, 4)).astype(np.float32)


def file(folder: Path, targets: np.ndarray) -> str:
    path = folder / "samples.npz"
    np.savez(path, x=FEATURES, y=targets)
    return str(path)


def trained(folder: Path, job: TrainingJob) -> tuple[Place, dict[str, Any], Predictor]:
    place = make_place(folder / "store", job)
    check_data(place.job, place.manifest)
    outcome = Simulation(place).run()
    return place, outcome, predict.decode(memoryview(place.result()), "model")


def held_out(place: Place) -> tuple[np.ndarray, np.ndarray]:
    """Scaled features and targets."""
    reader = Reader(place.store, place.resolved.data_prefix, place.manifest)
    return reader.range(0, place.manifest.validation_samples)


def test_regression_with_scaled_targets_reports_and_predicts_in_their_own_units(tmp_path: Path) -> None:
    weights = np.array([[3.0, -1], [0.5, 2], [1, 1], [-2, 0.3]])
    targets = FEATURES @ weights * np.array([1000.0, 0.01]) + np.array([5e4, -3.0])
    job = tiny_job(
        data={"source": file(tmp_path, targets), "batchSize": 8, "scaleTarget": True},
        model_args={"hidden": [16]}, algorithm_steps=60, evaluation_everySteps=60,
    )  # fmt: skip
    place, outcome, model = trained(tmp_path, job)
    features, truth = held_out(place)
    predicted = model.task.predictions(model.outputs(features))
    assert outcome["validationMetrics"]["r2"] > 0.9
    assert outcome["validationMetrics"]["r2"] == pytest.approx(sklearn.r2_score(truth, predicted), abs=1e-5)
    mae = sklearn.mean_absolute_error(truth, predicted)
    assert outcome["validationMetrics"]["mae"] == pytest.approx(mae, rel=1e-4)
    # The loss is of scaled targets: of the order of 1, where values are of the order of 10⁴.
    assert outcome["validationLoss"] < 1
    assert model.predict(FEATURES[:3]).shape == (3, 2)
    with pytest.raises(DataError, match="no probabilities"):
        model.probabilities(FEATURES[:3])


def test_several_targets_of_0_and_1_make_labels_whatever_their_type(tmp_path: Path) -> None:
    targets = (FEATURES @ np.random.default_rng(1).normal(size=(4, 3)) > 0.3).astype(np.float64)
    job = tiny_job(
        data={"source": file(tmp_path, targets), "batchSize": 8},
        algorithm_steps=60, evaluation_everySteps=20, model_classWeights={"policy": "Balanced"},
    )  # fmt: skip
    place, outcome, model = trained(tmp_path, job)
    assert place.manifest.task == "multilabel"
    features, truth = held_out(place)
    predicted = model.task.predictions(model.outputs(features))
    found = outcome["validationMetrics"]
    assert found["macroF1"] == pytest.approx(sklearn.f1_score(truth, predicted, average="macro"))
    assert found["exactMatch"] == pytest.approx(sklearn.accuracy_score(truth, predicted))
    assert outcome["validationAccuracy"] == pytest.approx(1 - sklearn.hamming_loss(truth, predicted))
    assert outcome["validationAccuracy"] > 0.85
    chances = model.probabilities(FEATURES)
    assert chances.shape == (200, 3)
    np.testing.assert_array_equal(chances > 0.5, model.predict(FEATURES) == 1)


def test_two_classes_report_macro_f1_and_auc_also_where_the_time_limit_cuts_evaluations(
    tmp_path: Path,
) -> None:
    job = tiny_job(
        data={"source": "sklearn:breast_cancer", "batchSize": 8, "microBatchSize": 4},
        algorithm_steps=10, evaluation_everySteps=5, model_labelSmoothing=0.1,
    )  # fmt: skip
    place, outcome, model = trained(tmp_path, job)
    features, truth = held_out(place)
    outputs = model.outputs(features)
    found = outcome["validationMetrics"]
    assert found["auc"] == pytest.approx(sklearn.roc_auc_score(truth, outputs[:, 0]), rel=1e-12)
    predicted = model.task.predictions(outputs)
    assert found["macroF1"] == pytest.approx(sklearn.f1_score(truth, predicted, average="macro"))
    hurried = make_place(tmp_path / "hurried", job)
    simulation = Simulation(hurried, hurry=1.0)
    again = simulation.run()
    assert (again["sha256"], again["validationMetrics"]) == (outcome["sha256"], found)
    lines = [
        json.loads(line)
        for line in bytes(
            hurried.store.read(keys.result(keys.job(hurried.uid), "metrics.jsonl"))
        ).splitlines()
    ]
    assert lines[-1]["validationMetrics"] == found


def test_ones_own_loss_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_losses.py").write_text(
        "from torch.nn import functional as F\n"
        "def focal(outputs, targets):\n"
        "    each = F.cross_entropy(outputs, targets, reduction='none')\n"
        "    return (1 - (-each).exp()) ** 2 * each\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    job = tiny_job(model_lossEntrypoint="own_losses:focal", algorithm_steps=40)
    _, outcome, _ = trained(tmp_path, job)
    _, plain, _ = trained(tmp_path / "plain", tiny_job(algorithm_steps=40))
    assert outcome["validationAccuracy"] > 0.8
    assert outcome["sha256"] != plain["sha256"]


def problems(targets: np.ndarray, folder: Path, **changes: Any) -> str:
    job = tiny_job(data={"source": file(folder, targets), "batchSize": 8}, **changes)
    place = make_place(folder / f"store{len(list(folder.iterdir()))}", job)
    with pytest.raises(SpecError) as caught:
        check_data(job, place.manifest)
    return str(caught.value)


def test_what_does_not_fit_the_data_is_said_of_its_field(tmp_path: Path) -> None:
    values, classes = FEATURES[:, 0], (np.arange(200) % 3)
    said = problems(values, tmp_path, evaluation_metrics=["macroF1"], evaluation_keepBest="auc")
    assert (
        "spec.evaluation.metrics[0]: there is no metric 'macroF1': regression of 1 value has r2, mae" in said
    )
    assert "spec.evaluation.keepBest: there is no metric 'auc'" in said
    said = problems(values, tmp_path, model_loss="CrossEntropy", model_labelSmoothing=0.1)
    assert "spec.model.loss: must be MSE or L1 or Huber for 1 value, not CrossEntropy" in said
    assert "spec.model.labelSmoothing: is for classification" in said
    said = problems(values, tmp_path, algorithm_targetAccuracy=0.5)
    assert "spec.algorithm.targetAccuracy: is for classification; the data is regression" in said
    said = problems(values, tmp_path, algorithm_target={"metric": "r2", "value": 1.5})
    assert "spec.algorithm.target.value: r2 is at most 1, not 1.5" in said
    said = problems(classes, tmp_path, model_classWeights={"values": [1.0, 2.0]})
    assert "spec.model.classWeights.values: has 2 weights for 3 classes: give one a class" in said
    said = problems(classes, tmp_path, algorithm_target={"metric": "accuracy", "value": 97})
    assert "spec.algorithm.target.value: accuracy is from 0 to 1, not 97" in said
    said = problems(classes, tmp_path, algorithm_earlyStopping={"metric": "mae", "patience": 2})
    assert "spec.algorithm.earlyStopping.metric: there is no metric 'mae'" in said


def test_what_judges_versions_needs_held_out_samples(tmp_path: Path) -> None:
    job = tiny_job(data_validationFraction=0, evaluation_keepBest="loss")
    with pytest.raises(SpecError, match=r"spec.evaluation.keepBest: needs held-out samples"):
        check_data(job, make_place(tmp_path, job).manifest)
