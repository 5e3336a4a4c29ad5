"""Loss functions as sums over samples, as contributions need them.

A commit's loss is the sum divided by the number of samples, also with weights of classes. If the mean of the weights
over the samples is 1, as with Balanced, that is the weighted mean.
"""

import inspect
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sapflow.errors import SpecError
from sapflow.spec.entrypoint import load
from sapflow.tasks.task import LossSettings, Task

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""A function of outputs [n, outputs] and targets of a batch that returns the loss summed over samples, a scalar."""

_ENTRYPOINT = "spec.model.lossEntrypoint"
_PROBE_SAMPLES = 3


class TrainingLoss:
    """A job's loss, and the other sums of its task over a batch."""

    def __init__(self, task: Task, settings: LossSettings) -> None:
        """Raises SpecError if the user's own loss cannot be loaded."""
        self._task = task
        self.total = loss_for(settings)

    def __call__(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """(Σ loss, the task's sums) for outputs float32 [n, outputs]."""
        loss = self.total(outputs, targets)
        return loss, self._task.training_sums(outputs.detach().numpy(), targets.numpy())


def loss_for(settings: LossSettings) -> LossFunction:
    """The loss of these settings. Raises SpecError if the user's own cannot be loaded, ValueError for unknown names."""
    if settings.entrypoint is not None:
        loss = _own(settings.entrypoint)
    elif settings.name in _LOSSES:
        loss = _LOSSES[settings.name](settings)
    else:
        raise ValueError(f"unknown loss {settings.name!r}: use one of {', '.join(_LOSSES)}")
    return loss if settings.shift is None or settings.scale is None else _scaled(loss, settings)


def try_out(task: Task, settings: LossSettings) -> None:
    """Call the user's own loss, if there is one, like a worker does. Raises SpecError if it does not work."""
    if settings.entrypoint is None:
        return
    outputs = torch.zeros((_PROBE_SAMPLES, task.outputs), requires_grad=True)
    dtype = torch.int64 if task.batched == "int64" else torch.float32
    targets = torch.zeros((_PROBE_SAMPLES, *task.targets.shape), dtype=dtype)
    loss = loss_for(settings)(outputs, targets)
    if not loss.requires_grad:
        text = f"{settings.entrypoint} gives a loss that does not follow from the outputs: it has no gradient"
        raise SpecError([(_ENTRYPOINT, text)])


def _cross_entropy(settings: LossSettings) -> LossFunction:
    """`outputs` [n, classes], `targets` int64 [n]."""
    weight = None if settings.weights is None else torch.tensor(settings.weights, dtype=torch.float32)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(
            outputs, targets, weight=weight, reduction="sum", label_smoothing=settings.smoothing
        )

    return loss


def _binary_cross_entropy(settings: LossSettings) -> LossFunction:
    """For `outputs` [n] or [n, 1] and `targets` [n] of 0 and 1; for several labels, both [n, k], their mean."""
    weights = None if settings.weights is None else torch.tensor(settings.weights, dtype=torch.float32)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        labels = math.prod(targets.shape[1:])
        shape = (len(outputs),) if labels == 1 else (len(outputs), labels)
        logits, truth = outputs.reshape(shape), targets.reshape(shape).to(outputs.dtype)
        weight = None if weights is None or labels > 1 else torch.where(truth > 0.5, weights[1], weights[0])
        presence = weights if labels > 1 else None
        if settings.smoothing:
            truth = truth * (1 - settings.smoothing) + settings.smoothing / 2
        total = F.binary_cross_entropy_with_logits(
            logits, truth, weight=weight, pos_weight=presence, reduction="sum"
        )
        return total if labels == 1 else total / labels

    return loss


def _of_margins(power: int) -> Callable[[LossSettings], LossFunction]:
    """max(0, 1 − margin)^power, where the margin is the output times the class, −1 or 1.

    Cortes and Vapnik, *Support-vector networks* (1995), with power 1 or 2. For `outputs` [n] or [n, 1] and
    `targets` [n] of 0 and 1. At a margin of exactly 1 the gradient is 0.
    """

    def of(settings: LossSettings) -> LossFunction:
        weights = None if settings.weights is None else torch.tensor(settings.weights, dtype=torch.float32)

        def loss(outputs: Tensor, targets: Tensor) -> Tensor:
            scores, truth = outputs.reshape(len(outputs)), targets.reshape(len(outputs)).to(outputs.dtype)
            each = F.relu(1 - scores * (2 * truth - 1)) ** power
            return (
                each if weights is None else each * torch.where(truth > 0.5, weights[1], weights[0])
            ).sum()

        return loss

    return of


def _of_errors(function: Callable[[Tensor, Tensor], Tensor]) -> LossFunction:
    """For `outputs` and `targets` [n, …]: the mean over a sample's values, summed over samples."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        flat = outputs.reshape(len(outputs), -1)
        truth = targets.reshape(len(targets), -1).to(flat.dtype)
        if flat.shape != truth.shape:
            raise ValueError(f"outputs of shape {tuple(flat.shape)} against targets {tuple(truth.shape)}")
        return function(flat, truth) / max(1, flat.shape[1])

    return loss


def _squared_error(settings: LossSettings) -> LossFunction:
    return _of_errors(lambda outputs, targets: F.mse_loss(outputs, targets, reduction="sum"))


def _absolute_error(settings: LossSettings) -> LossFunction:
    return _of_errors(lambda outputs, targets: F.l1_loss(outputs, targets, reduction="sum"))


def _huber(settings: LossSettings) -> LossFunction:
    """Huber, *Robust estimation of a location parameter* (1964): ½e² up to `delta`, then delta·(|e| − ½delta)."""
    return _of_errors(
        lambda outputs, targets: F.huber_loss(outputs, targets, reduction="sum", delta=settings.delta)
    )


_LOSSES: dict[str, Callable[[LossSettings], LossFunction]] = {
    "CrossEntropy": _cross_entropy,
    "BinaryCrossEntropy": _binary_cross_entropy,
    "Hinge": _of_margins(1),
    "SquaredHinge": _of_margins(2),
    "MSE": _squared_error,
    "L1": _absolute_error,
    "Huber": _huber,
}


def _scaled(loss: LossFunction, settings: LossSettings) -> LossFunction:
    """The loss of scaled targets, (target − shift) / scale."""
    shift = torch.tensor(settings.shift, dtype=torch.float32)
    scale = torch.tensor(settings.scale, dtype=torch.float32)

    def scaled(outputs: Tensor, targets: Tensor) -> Tensor:
        values = targets.reshape(len(targets), -1)
        return loss(outputs, ((values - shift) / scale).reshape(targets.shape))

    return scaled


def _own(entrypoint: str) -> LossFunction:
    """The sum of the user's function of outputs and targets, which returns the loss of each sample [n]."""
    function = load(entrypoint, _ENTRYPOINT)
    if inspect.isclass(function):
        text = (
            f"{entrypoint} is a class; give a function, or an instance: it is called with outputs and targets"
        )
        raise SpecError([(_ENTRYPOINT, text)])

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        try:
            each = function(outputs, targets)
        except Exception as error:
            text = f"{entrypoint} failed on outputs {list(outputs.shape)} and targets {list(targets.shape)}"
            raise SpecError([(_ENTRYPOINT, f"{text}: {type(error).__name__}: {error}")]) from error
        if not isinstance(each, Tensor) or each.shape != (len(outputs),):
            found = list(each.shape) if isinstance(each, Tensor) else type(each).__name__
            text = (
                f"{entrypoint} gives {found} for {len(outputs)} samples; it must give the loss of each, a tensor "
                f"[{len(outputs)}] (of torch's own losses: reduction='none')"
            )
            raise SpecError([(_ENTRYPOINT, text)])
        return each.sum()

    return loss
