"""Loss functions as sums over samples, which is what contributions carry."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossFunction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(outputs, targets) → (loss summed over samples, samples predicted correctly), both 0-dimensional."""


def loss_for(name: str) -> LossFunction:
    """The loss of that name: CrossEntropy, BinaryCrossEntropy (of one logit) or MSE.

    Raises ValueError for other names.
    """
    if name not in _LOSSES:
        raise ValueError(f"unknown loss {name!r}: use one of {', '.join(_LOSSES)}")
    return _LOSSES[name]


def default_loss(task: Literal["classification", "regression"], outputs: int) -> str:
    """The loss of a task with so many outputs; one output classifies by the sign of its logit."""
    if task == "regression":
        return "MSE"
    return "BinaryCrossEntropy" if outputs == 1 else "CrossEntropy"


def _cross_entropy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`outputs` [samples, classes], `targets` int64 [samples]."""
    correct = (outputs.detach().argmax(dim=1) == targets).sum()
    return F.cross_entropy(outputs, targets, reduction="sum"), correct


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`outputs` [samples] or [samples, 1], `targets` [samples] of 0 and 1 in any type."""
    logits = outputs.reshape(len(outputs))
    truth = targets.reshape(len(targets)).to(logits.dtype)
    correct = ((logits.detach() > 0) == (truth > 0.5)).sum()
    return F.binary_cross_entropy_with_logits(logits, truth, reduction="sum"), correct


def _squared_error(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`outputs` and `targets` [samples, …]; the mean over a sample's outputs, summed over samples."""
    flat = outputs.reshape(len(outputs), -1)
    truth = targets.reshape(len(targets), -1).to(flat.dtype)
    if flat.shape != truth.shape:
        raise ValueError(f"outputs of shape {tuple(flat.shape)} against targets {tuple(truth.shape)}")
    loss = F.mse_loss(flat, truth, reduction="sum") / max(1, flat.shape[1])
    return loss, torch.zeros((), dtype=torch.int64)


_LOSSES: dict[str, LossFunction] = {
    "CrossEntropy": _cross_entropy,
    "BinaryCrossEntropy": _binary_cross_entropy,
    "MSE": _squared_error,
}
