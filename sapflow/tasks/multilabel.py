"""Classification with several labels per sample: each label has a logit and a binary cross-entropy."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from sapflow.errors import DataError
from sapflow.tasks import measures
from sapflow.tasks.measures import Measure, SumsByName
from sapflow.tasks.targets import Counted, LabelCounts, Rows, Targets
from sapflow.tasks.task import COUNTED_UNASKED, MOST_COUNTED, Problem, Task

if TYPE_CHECKING:
    from sapflow.spec.learning import ModelSpec
    from sapflow.spec.training_job import Spec


class MultiLabel(Task):
    name = "multilabel"
    family = "classification"
    stored: ClassVar[Literal["int32", "float32"]] = "float32"
    batched: ClassVar[Literal["int64", "float32"]] = "float32"

    @classmethod
    def fits(cls, targets: np.ndarray, *, asked: bool) -> bool:
        """Whether there are several targets per sample that are all 0 or 1, whatever their type."""
        if targets.ndim != 2:
            return False
        return asked or targets.dtype.kind != "f" or bool(((targets == 0) | (targets == 1)).all())

    @classmethod
    def checked(cls, targets: np.ndarray, rows: Rows, classes: int | None) -> np.ndarray:
        if classes is not None:
            raise DataError(
                f"{rows.origin}: {targets.shape[1]} targets a sample, where options: classes says that each sample "
                f"has one class of {classes}; leave it out to learn {targets.shape[1]} labels"
            )
        rule = (
            f"{targets.shape[1]} targets a sample are labels, each 0 or 1; classes need one class number each "
            "(task: Regression learns several values)"
        )
        rows.refuse(~((targets == 0) | (targets == 1)), targets, "target", rule)
        return targets.astype(np.float32)

    @classmethod
    def labels(cls, targets: np.ndarray) -> np.ndarray | None:
        """The column of each 1."""
        return np.nonzero(targets)[1]

    @classmethod
    def counted(cls) -> Counted:
        return LabelCounts()

    @classmethod
    def wrong(cls, targets: Targets) -> str | None:
        if len(targets.shape) != 1 or targets.shape[0] < 2:
            return "target_shape"
        return None if targets.classes is None else "classes"

    @property
    def outputs(self) -> int:
        return self.targets.values

    @property
    def summary(self) -> str:
        return f"{self.outputs:,} labels"

    @property
    def losses(self) -> tuple[str, ...]:
        return ("BinaryCrossEntropy",)

    def training_sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"correct": float(((outputs > 0) == (targets > 0.5)).mean(axis=1).sum())}

    def training_metrics(self, sums: Mapping[str, float], samples: int) -> dict[str, float]:
        return {"accuracy": sums["correct"] / samples} if samples and "correct" in sums else {}

    @property
    def metrics(self) -> tuple[str, ...]:
        counted = ("macroF1",) if self.outputs <= MOST_COUNTED else ()
        return ("accuracy", "exactMatch", *counted, "loss")

    def _usual(self) -> tuple[str, ...]:
        return self.metrics if self.outputs <= COUNTED_UNASKED else ("accuracy", "exactMatch")

    def _measure(self, name: str, held_out: int) -> Measure:
        match name:
            case "accuracy":
                return measures.LabelAccuracy()
            case "exactMatch":
                return measures.ExactMatch()
            case _:
                return measures.MacroF1(self.outputs)

    def _target_problems(self, spec: "Spec") -> Iterator[Problem]:
        if spec.data.scale_target:
            yield "spec.data.scaleTarget", "is for regression; the data's targets are labels"
        weights = spec.model.class_weights
        if weights is not None and weights.values is not None and len(weights.values) != self.outputs:
            yield (
                "spec.model.classWeights.values",
                f"has {len(weights.values)} weights for {self.summary}: give one a label",
            )

    def _weights(self, model: "ModelSpec") -> tuple[float, ...] | None:
        """The weights of present labels, relative to absent ones; balanced: samples without it / samples with it."""
        asked = model.class_weights
        if asked is None or asked.values is not None:
            return None if asked is None else tuple(asked.values or ())
        statistics = self.targets.statistics
        samples = statistics.get("samples", (0.0,))[0]
        return tuple(
            (samples - count) / count if 0 < count < samples else 1.0
            for count in statistics.get("counts", (0.0,) * self.outputs)
        )

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        """int64 [n, labels] of 0 and 1."""
        return (outputs > 0).astype(np.int64)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The sigmoid of each logit, float64 [n, labels]."""
        return np.asarray(np.exp(-np.logaddexp(0.0, -outputs.astype(np.float64))))

    def answers(self, outputs: np.ndarray, top: int) -> list[dict[str, Any]]:
        return [
            {"labels": np.flatnonzero(row > 0).tolist(), "probabilities": chances.tolist()}
            for row, chances in zip(outputs, self.probabilities(outputs), strict=True)
        ]

    def in_words(self, answer: Mapping[str, Any]) -> str:
        chances = answer["probabilities"]
        named = [f"label {label} ({chances[label] * 100:.1f} %)" for label in answer["labels"]]
        return ", ".join(named) or "no label"
