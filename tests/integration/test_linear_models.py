"""Linear models trained by local functions reach the optimum that scikit-learn finds for the same objective."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.svm import LinearSVC

import sapflow

RANDOM = np.random.default_rng(0)
SAMPLES, DECAY = 256, 0.05
FEATURES = RANDOM.standard_normal((SAMPLES, 6)).astype(np.float32)
VALUES = (FEATURES @ RANDOM.standard_normal(6) + 0.8 * RANDOM.standard_normal(SAMPLES) + 0.3).astype(
    np.float32
)
CLASSES = (VALUES > 0).astype(np.int64)
C = 1 / (DECAY * SAMPLES)

Loss = Callable[[np.ndarray], np.ndarray]


def margins(outputs: np.ndarray) -> np.ndarray:
    return outputs * (2 * CLASSES - 1)


LOSSES: dict[str, Loss] = {
    "Hinge": lambda outputs: np.maximum(0, 1 - margins(outputs)),
    "SquaredHinge": lambda outputs: np.maximum(0, 1 - margins(outputs)) ** 2,
    "BinaryCrossEntropy": lambda outputs: np.logaddexp(0, -margins(outputs)),
    "MSE": lambda outputs: (outputs - VALUES) ** 2,
}


def objective(loss: str, features: np.ndarray, weights: np.ndarray, intercept: float) -> float:
    """Mean loss + ½λ‖w‖², with the intercept in the penalty of support vector machines."""
    penalised = np.append(weights, intercept) if "Hinge" in loss else weights
    return float(LOSSES[loss](features @ weights + intercept).mean() + DECAY / 2 * penalised @ penalised)


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        ("Hinge", LinearSVC(loss="hinge", C=C, tol=1e-8, max_iter=10**6)),
        ("SquaredHinge", LinearSVC(loss="squared_hinge", C=C, tol=1e-8, max_iter=10**6)),
        ("BinaryCrossEntropy", LogisticRegression(C=C, tol=1e-8)),
        ("MSE", Ridge(alpha=DECAY * SAMPLES / 2)),
    ],
)
def test_a_linear_model_comes_within_a_thousandth_of_the_optimum_of_scikit_learn(
    loss: str, reference: Any, tmp_path: Path
) -> None:
    targets = VALUES if loss == "MSE" else CLASSES
    groups = None if "Hinge" in loss else [{"match": ["*bias"], "weightDecay": 0}]
    job = sapflow.TrainingJob(
        "linear",
        model={"name": "mlp", "args": {"hidden": []}, "loss": loss},
        data={"source": (FEATURES, targets), "batch_size": SAMPLES // 2, "validation_fraction": 0},
        workers=2,
        algorithm={"steps": 200},
        optimizer={
            "name": "SGD", "learningRate": 0.3, "weightDecay": DECAY, "schedule": {"name": "Cosine"},
            **({} if groups is None else {"groups": groups}),
        },
    )  # fmt: skip
    run = sapflow.run(job, store=tmp_path / "store", progress=False)
    features = np.asarray(run.predictor().scaled(FEATURES), np.float64)
    tensors = [each.detach().numpy().astype(np.float64) for each in run.model().state_dict().values()]
    weights, bias = sorted(tensors, key=lambda each: -each.size)
    found = objective(loss, features, weights.ravel(), bias.item())
    reference.fit(features, targets)
    intercept = float(np.ravel(reference.intercept_)[0])
    best = objective(loss, features, np.ravel(reference.coef_), intercept)
    assert best * 0.999 < found < best * 1.001
