"""The interface of tasks: everything about a learning problem that is neither data format nor network.

A task is a class in a module of its own, listed in registry.py. Its metrics are computed by measures (measures.py); its
losses are named here and computed by `tasks.torch.losses`. Nothing else in Sapflow depends on which task a job has.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from sapflow.errors import DataError
from sapflow.quantities.metric import METRICS
from sapflow.tasks.measures import Measure, SumsByName
from sapflow.tasks.targets import Counted, Rows, Targets

if TYPE_CHECKING:
    from sapflow.spec.learning import ModelSpec
    from sapflow.spec.training_job import Spec

Problem = tuple[str, str]
"""A field's path and a message."""

MOST_COUNTED = 4096
"""The most classes, labels or values that are counted separately; each adds some 100 bytes to a reply."""
COUNTED_UNASKED = 256
"""Up to this many, metrics that count them are computed by default."""


@dataclass(frozen=True, slots=True)
class LossSettings:
    """The settings of a loss for workers."""

    name: str
    entrypoint: str | None = None
    """The user's own loss, which replaces the named one."""
    weights: tuple[float, ...] | None = None
    """Weights of classes [classes], or of present labels [labels]."""
    smoothing: float = 0.0
    delta: float = 1.0
    """For Huber: the error above which the loss grows linearly."""
    shift: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    """The loss gets targets as (target − shift) / scale, float32 [values]; None means unscaled."""


class Task(ABC):
    """A learning problem. Its life cycle:

    1. While a source is read, class methods are used: `fits` decides by the first targets whether the problem is of
       this kind, `checked` checks each batch and converts it to the type in blocks, and `counted` computes the
       manifest's statistics of the training targets.
    2. With the manifest there is an instance: `outputs` determines the size of the network, `problems` compares the
       spec with the data, and workers compute `loss` and `measures`.
    3. The driver computes metrics from sums: `training_metrics` after each step, `measures` after each evaluation.
    4. A trained network's outputs become `predictions`, and `answers` for the command line.
    """

    name: ClassVar[str]
    """The name in manifests and model files."""
    family: ClassVar[str]
    """The family that a source, or `data.options.task` with a capital, asks for; it may have several tasks."""
    stored: ClassVar[Literal["int32", "float32"]]
    """The type of targets in blocks; it has 4 bytes, so that the features after them are aligned."""
    batched: ClassVar[Literal["int64", "float32"]]
    """The type of targets in batches."""

    def __init__(self, targets: Targets, *, scale_target: bool = False) -> None:
        self.targets = targets
        self._scale_target = scale_target

    @classmethod
    @abstractmethod
    def fits(cls, targets: np.ndarray, *, asked: bool) -> bool:
        """Whether targets [n] or [n, k] fit this task; `asked` says that its family was asked for by name."""

    @classmethod
    @abstractmethod
    def checked(cls, targets: np.ndarray, rows: Rows, classes: int | None) -> np.ndarray:
        """Targets [n] or [n, k] of any numeric type, converted to the type `stored`.

        `classes` is their number, if the source gives it. Raises DataError, which names the row.
        """

    @classmethod
    def highest_class(cls, targets: np.ndarray) -> int | None:
        """The highest class number among checked targets; None if targets are no class numbers."""
        return None

    @classmethod
    def labels(cls, targets: np.ndarray) -> np.ndarray | None:
        """The labels of checked targets as numbers, int [m]; None if targets are no labels."""
        return None

    @classmethod
    @abstractmethod
    def counted(cls) -> Counted:
        """A new computation of statistics of training targets."""

    @classmethod
    @abstractmethod
    def wrong(cls, targets: Targets) -> str | None:
        """The field of a manifest that does not fit this task, or None."""

    @property
    @abstractmethod
    def outputs(self) -> int:
        """The number of a network's outputs for one sample."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """The targets as text, such as `10 classes`."""

    @property
    def described(self) -> str:
        """The task and its targets as text, such as `classification, 10 classes`."""
        return f"{self.name}, {self.summary}"

    @property
    @abstractmethod
    def losses(self) -> tuple[str, ...]:
        """The losses that fit, the default first."""

    def loss(self, model: "ModelSpec") -> LossSettings:
        """The loss of a job that has no problems."""
        return LossSettings(
            name=model.loss or self.losses[0],
            entrypoint=model.loss_entrypoint,
            weights=self._weights(model),
            smoothing=model.label_smoothing or 0.0,
            delta=model.huber_delta or 1.0,
        )

    @abstractmethod
    def training_sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        """The sums of a batch for contributions, in addition to the loss: a few, which always have the same names."""

    @abstractmethod
    def training_metrics(self, sums: Mapping[str, float], samples: int) -> dict[str, float]:
        """Metrics of a step's own samples, from the sums of `training_sums`; empty if there are none."""

    def metric_values(self, outputs: np.ndarray) -> np.ndarray:
        """A network's outputs for measures; they are unchanged unless targets are scaled."""
        return outputs

    def measures(self, spec: "Spec", held_out: int) -> list[Measure]:
        """The measures of an evaluation on `held_out` samples: those that the spec asks for, else the usual ones."""
        named = spec.evaluation.metrics
        unasked = self._usual() if named is None else ()
        names = {*unasked, *(name for _, name in asked_metrics(spec))} - {"loss"}
        return [self._measure(name, held_out) for name in self.metrics if name in names]

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """The possible metrics, including the loss, without those that would count more than MOST_COUNTED."""

    @abstractmethod
    def _usual(self) -> tuple[str, ...]:
        """The metrics that are computed by default."""

    @abstractmethod
    def _measure(self, name: str, held_out: int) -> Measure: ...

    def problems(self, spec: "Spec", held_out: int) -> list[Problem]:
        """The problems of a spec with the data, of which `held_out` samples are for evaluation."""
        return [
            *self._metric_problems(spec, held_out),
            *self._loss_problems(spec.model),
            *self._target_problems(spec),
        ]

    def _metric_problems(self, spec: "Spec", held_out: int) -> Iterator[Problem]:
        for field, name in asked_metrics(spec):
            if name not in self.metrics:
                if field == _TARGET_ACCURACY:
                    yield field, f"is for classification; the data is {self.name}"
                else:
                    known = f"{self.name} of {self.summary} has {', '.join(self.metrics)}"
                    yield field, f"there is no metric {name!r}: {known}"
            elif held_out == 0:
                yield field, "needs held-out samples: set spec.data.validationFraction above 0"
        target = spec.algorithm.target
        if target is not None and target.metric in METRICS:
            metric = METRICS[target.metric]
            if not metric.least <= target.value <= metric.most:
                yield "spec.algorithm.target.value", f"{metric.name} is {metric.bounds}, not {target.value:g}"

    def _loss_problems(self, model: "ModelSpec") -> Iterator[Problem]:
        if model.loss is not None and model.loss not in self.losses:
            fitting = " or ".join(self.losses)
            yield "spec.model.loss", f"must be {fitting} for {self.summary}, not {model.loss}"

    @abstractmethod
    def _target_problems(self, spec: "Spec") -> Iterator[Problem]:
        """Further problems of the spec with the targets."""

    def _weights(self, model: "ModelSpec") -> tuple[float, ...] | None:
        """The loss's weights."""
        return None

    @property
    def needed_to_predict(self) -> dict[str, list[float]]:
        """The statistics that are needed to interpret a network's outputs; they are stored in the model's file."""
        return {}

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """The predictions of a network's outputs float32 [n, outputs], in the units of the data's targets."""
        return outputs

    def named(self, targets: np.ndarray) -> np.ndarray:
        """Targets or predictions as the data's source has them: class numbers become words, if it has those."""
        return targets

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The probability of each class or label, float64. Raises DataError if the task has none."""
        raise DataError("the model predicts values, not classes: it has no probabilities")

    @abstractmethod
    def answers(self, outputs: np.ndarray, top: int) -> list[dict[str, Any]]:
        """A JSON object for each sample with its prediction; for classes the `top` likeliest."""

    @abstractmethod
    def in_words(self, answer: Mapping[str, Any]) -> str:
        """An answer as text for people."""


_TARGET_ACCURACY = "spec.algorithm.targetAccuracy"


def asked_metrics(spec: "Spec") -> Sequence[Problem]:
    """(field, metric) for every metric that a spec names."""
    algorithm, evaluation = spec.algorithm, spec.evaluation
    found = [
        (f"spec.evaluation.metrics[{index}]", name) for index, name in enumerate(evaluation.metrics or ())
    ]
    if evaluation.keep_best is not None:
        found.append(("spec.evaluation.keepBest", evaluation.keep_best))
    if algorithm.target_accuracy is not None:
        found.append((_TARGET_ACCURACY, "accuracy"))
    if algorithm.target is not None:
        found.append(("spec.algorithm.target.metric", algorithm.target.metric))
    if algorithm.early_stopping is not None:
        found.append(("spec.algorithm.earlyStopping.metric", algorithm.early_stopping.metric))
    return found


def values_of(measures: Sequence[Measure], sums: SumsByName, samples: int) -> dict[str, float]:
    """Metrics by name, the loss first."""
    values = {each.metric.name: each.value(sums, samples) for each in measures}
    return {"loss": sums["loss"] / samples, **values}
