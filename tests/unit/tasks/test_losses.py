"""Losses: sums over samples, weighted, smoothed and scaled as torch and the definitions have it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.jobs import tiny_job
from torch import Tensor

from sapflow.errors import SpecError
from sapflow.spec.learning import ModelSpec
from sapflow.tasks.registry import task_for
from sapflow.tasks.targets import Targets
from sapflow.tasks.task import LossSettings, Task
from sapflow.tasks.torch.losses import TrainingLoss, loss_for, try_out

OWN = """
import torch
from torch.nn import functional as F

def hinge(outputs, targets):
    return F.relu(1 - outputs[:, 0] * (2 * targets - 1))

def mean(outputs, targets):
    return hinge(outputs, targets).mean()

def constant(outputs, targets):
    return torch.zeros(len(outputs))

def broken(outputs, targets):
    return outputs @ targets

class Hinge(torch.nn.Module):
    forward = staticmethod(hinge)

instance = Hinge()
"""


def classes(count: int, counts: tuple[float, ...] = ()) -> Task:
    return task_for("classification", Targets(classes=count, statistics={"counts": counts}))


def both(task: Task, outputs: Tensor, targets: Tensor, **model: Any) -> tuple[Tensor, dict[str, float]]:
    settings = task.loss(ModelSpec.model_validate({"name": "mlp", **model}))
    return TrainingLoss(task, settings)(outputs, targets)


def test_cross_entropy_sums_over_samples_and_counts_the_right_ones() -> None:
    outputs = torch.tensor([[2.0, 0.0, -1], [0.0, 1.0, 0], [3.0, 1.0, 0]], requires_grad=True)
    targets = torch.tensor([0, 1, 1])
    loss, figures = both(classes(3), outputs, targets)
    torch.testing.assert_close(loss, 3 * F.cross_entropy(outputs, targets))
    assert figures["correct"] == 2
    assert loss.requires_grad
    assert loss.shape == ()


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("kind", [torch.int64, torch.uint8, torch.float32])
def test_binary_cross_entropy_takes_one_logit_and_any_type_of_label(
    shape: tuple[int, ...], kind: torch.dtype
) -> None:
    logits = torch.tensor([1.0, -2.0, 0.5, -0.1])
    targets = torch.tensor([1, 0, 0, 1]).to(kind)
    loss, figures = both(classes(2), logits.reshape(shape), targets)
    torch.testing.assert_close(loss, 4 * F.binary_cross_entropy_with_logits(logits, targets.float()))
    assert figures["correct"] == 2


@pytest.mark.parametrize(("name", "expected"), [("Hinge", 0.5 + 1.5), ("SquaredHinge", 0.5**2 + 1.5**2)])
def test_hinges_grow_from_a_margin_of_1_down_and_count_the_right_side_as_right(
    name: str, expected: float
) -> None:
    outputs, targets = (
        torch.tensor([[2.0], [0.5], [-0.5], [-1.0]], requires_grad=True),
        torch.tensor([1, 1, 1, 0]),
    )
    loss, figures = both(classes(2), outputs, targets, loss=name)
    assert float(loss.detach()) == pytest.approx(expected)
    assert figures["correct"] == 3
    loss.backward()
    assert outputs.grad is not None
    assert outputs.grad[[0, 3]].abs().sum() == 0
    weighted, _ = both(classes(2), outputs, targets, loss=name, classWeights={"values": [1, 3]})
    assert float(weighted.detach()) == pytest.approx(3 * expected)


def test_a_hinge_refuses_smoothed_labels_with_field_and_remedy() -> None:
    with pytest.raises(SpecError, match=r"model\.labelSmoothing: .*set loss: BinaryCrossEntropy"):
        tiny_job(model_loss="Hinge", model_labelSmoothing=0.1)


LABELS = task_for("multilabel", Targets((3,), statistics={"counts": (2.0, 8.0, 0.0), "samples": (10.0,)}))


def test_several_labels_take_the_mean_of_their_binary_cross_entropies() -> None:
    outputs, targets = torch.randn(5, 3), torch.randint(0, 2, (5, 3)).float()
    loss, figures = both(LABELS, outputs, targets)
    torch.testing.assert_close(loss, 5 * F.binary_cross_entropy_with_logits(outputs, targets))
    assert figures["correct"] == pytest.approx(float(((outputs > 0) == (targets > 0)).float().mean(1).sum()))


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3)])
@pytest.mark.parametrize(
    ("name", "function"), [("MSE", F.mse_loss), ("L1", F.l1_loss), ("Huber", F.huber_loss)]
)
def test_losses_of_values_are_the_mean_over_outputs_summed_over_samples(
    name: str, function: Any, shape: tuple[int, ...]
) -> None:
    task = task_for("regression", Targets(shape[1:]))
    outputs, targets = 3 * torch.randn(shape), torch.randn(shape)
    loss, figures = both(task, outputs, targets, loss=name)
    torch.testing.assert_close(loss, 4 * function(outputs, targets))
    assert figures == {"mae": pytest.approx(4 * float(F.l1_loss(outputs, targets)), rel=1e-6)}


def test_huber_grows_linearly_from_its_delta_on() -> None:
    task = task_for("regression", Targets())
    outputs, targets = torch.tensor([[0.5], [5.0]]), torch.zeros(2)
    loss, _ = both(task, outputs, targets, loss="Huber", huberDelta=2.0)
    assert float(loss) == 0.5 * 0.5**2 + 2 * (5 - 0.5 * 2)


def test_mse_refuses_targets_of_another_shape_instead_of_broadcasting() -> None:
    with pytest.raises(ValueError, match="against targets"):
        loss_for(LossSettings("MSE"))(torch.zeros(4, 2), torch.zeros(4))


def test_an_unknown_loss_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="BinaryCrossEntropy, Hinge, SquaredHinge, MSE, L1, Huber"):
        loss_for(LossSettings("Cubic"))


@pytest.mark.parametrize("smoothing", [None, 0.1])
def test_weights_multiply_the_loss_of_each_sample_which_is_not_divided_by_them(
    smoothing: float | None,
) -> None:
    outputs, targets = torch.randn(20, 3), torch.randint(0, 3, (20,))
    model = {"classWeights": {"values": [0.5, 2, 3]}, "labelSmoothing": smoothing}
    loss, _ = both(classes(3), outputs, targets, **model)
    s, weights = smoothing or 0.0, torch.tensor([0.5, 2, 3])
    spread = (1 - s) * F.one_hot(targets, 3) + s / 3
    wanted = -(weights * spread * outputs.log_softmax(1)).sum()
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize("smoothing", [None, 0.2])
def test_weights_and_smoothing_of_two_classes_are_those_of_two_logits(smoothing: float | None) -> None:
    logit, targets = torch.randn(20, 1), torch.randint(0, 2, (20,))
    model = {"classWeights": {"values": [0.5, 3]}, "labelSmoothing": smoothing}
    loss, _ = both(classes(2), logit, targets, **model)
    s = smoothing or 0.0
    each = F.binary_cross_entropy_with_logits(logit[:, 0], targets * (1 - s) + s / 2, reduction="none")
    torch.testing.assert_close(loss, (torch.where(targets > 0, 3.0, 0.5) * each).sum())


def test_balanced_weights_make_classes_equal_and_have_a_mean_of_1_over_the_samples() -> None:
    counts = (10.0, 30.0, 0.0, 60.0)
    settings = classes(4, counts).loss(
        ModelSpec.model_validate({"name": "mlp", "classWeights": {"policy": "Balanced"}})
    )
    assert settings.weights is not None
    seen = [weight * count for weight, count in zip(settings.weights, counts, strict=True) if count]
    assert seen == pytest.approx([100 / 3] * 3)
    assert settings.weights[2] == 1


def test_balanced_weights_of_labels_make_presence_and_absence_equal() -> None:
    outputs, targets = torch.randn(5, 3), torch.randint(0, 2, (5, 3)).float()
    loss, _ = both(LABELS, outputs, targets, classWeights={"policy": "Balanced"})
    weights = torch.tensor([4.0, 0.25, 1.0])
    wanted = F.binary_cross_entropy_with_logits(outputs, targets, pos_weight=weights)
    torch.testing.assert_close(loss, 5 * wanted)


def test_scaled_targets_are_seen_by_the_loss_alone() -> None:
    statistics = {"mean": (100.0, -5.0), "deviation": (20.0, 0.5)}
    task = task_for("regression", Targets((2,), statistics=statistics), scale_target=True)
    outputs = torch.tensor([[0.0, 0.0], [1.0, -1.0]])
    targets = torch.tensor([[100.0, -5.0], [120.0, -5.0]])
    loss, _ = both(task, outputs, targets)
    assert float(loss) == 0.5
    values = np.array([[100.0, -5.0], [120.0, -5.5]])
    np.testing.assert_allclose(task.metric_values(outputs.numpy()), values)
    np.testing.assert_allclose(task.predictions(outputs.numpy()), values.astype(np.float32))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_losses.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "users_losses", raising=False)


@pytest.mark.parametrize("name", ["hinge", "instance"])
def test_ones_own_loss_is_summed_over_the_samples(name: str, own: None) -> None:
    outputs, targets = torch.randn(6, 1, requires_grad=True), torch.randint(0, 2, (6,))
    settings = classes(2).loss(
        ModelSpec.model_validate({"name": "mlp", "lossEntrypoint": f"users_losses:{name}"})
    )
    try_out(classes(2), settings)
    loss, figures = TrainingLoss(classes(2), settings)(outputs, targets)
    torch.testing.assert_close(loss, F.relu(1 - outputs[:, 0] * (2 * targets - 1)).sum())
    assert figures["correct"] == int(((outputs[:, 0] > 0) == (targets > 0)).sum())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mean", r"gives \[\] for 3 samples; it must give the loss of each, a tensor \[3\]"),
        ("constant", "does not follow from the outputs"),
        ("broken", r"failed on outputs \[3, 1\] and targets \[3\]: RuntimeError"),
        ("Hinge", "is a class; give a function, or an instance"),
        ("missing", "has no 'missing'"),
    ],
)
def test_a_loss_that_does_not_do_is_refused_with_what_it_gave(name: str, message: str, own: None) -> None:
    settings = LossSettings("BinaryCrossEntropy", entrypoint=f"users_losses:{name}")
    with pytest.raises(SpecError, match=message) as caught:
        try_out(classes(2), settings)
    assert "spec.model.lossEntrypoint" in str(caught.value)
