"""Classification with one class number per sample. Two classes have one logit; more classes have one logit each."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from sapflow.tasks import measures
from sapflow.tasks.measures import Measure, SumsByName, predicted_classes
from sapflow.tasks.targets import ClassCounts, Counted, Rows, Targets
from sapflow.tasks.task import COUNTED_UNASKED, MOST_COUNTED, Problem, Task

if TYPE_CHECKING:
    from sapflow.spec.learning import ModelSpec
    from sapflow.spec.training_job import Spec

MAX_CLASSES = 1 << 16
_FEW, _SMALL = 20, 100
"""Floats are classes if they are whole, of at most so many kinds, and not larger."""


class Classification(Task):
    name = "classification"
    family = "classification"
    stored: ClassVar[Literal["int32", "float32"]] = "int32"
    batched: ClassVar[Literal["int64", "float32"]] = "int64"

    @classmethod
    def fits(cls, targets: np.ndarray, *, asked: bool) -> bool:
        """Whether targets are whole numbers. As floats they must be few and come again: others are values."""
        if asked or targets.dtype.kind != "f":
            return True
        return targets.ndim == 1 and _are_few(targets)

    @classmethod
    def checked(cls, targets: np.ndarray, rows: Rows, classes: int | None) -> np.ndarray:
        if targets.dtype.kind == "f":
            with np.errstate(invalid="ignore"):
                broken = ~(np.isfinite(targets) & (targets == np.floor(targets)))
            rule = "classes are whole numbers (task: Regression learns values)"
            rows.refuse(broken, targets, "label", rule)
        limit = classes or MAX_CLASSES
        allowed = f"labels go from 0 to {limit - 1}"
        if targets.min(initial=0) < 0:
            words = [str(int(each)) for each in np.unique(targets)[:3]]
            several = f"{words}" if 1 < len(words) < 3 else "all of them, as words"
            allowed += f"; labels of another kind are listed in options: classes: {several}"
        if classes is None:
            allowed += " (task: Regression learns values)"
        rows.refuse((targets < 0) | (targets >= limit), targets, "label", allowed)
        return targets.astype(np.int32)

    @classmethod
    def highest_class(cls, targets: np.ndarray) -> int | None:
        return int(targets.max())

    @classmethod
    def labels(cls, targets: np.ndarray) -> np.ndarray | None:
        return targets

    @classmethod
    def counted(cls) -> Counted:
        return ClassCounts(MOST_COUNTED)

    @classmethod
    def wrong(cls, targets: Targets) -> str | None:
        if targets.shape:
            return "target_shape"
        enough = type(targets.classes) is int and 2 <= targets.classes <= MAX_CLASSES
        return None if enough else "classes"

    @property
    def classes(self) -> int:
        return self.targets.classes or 2

    @property
    def outputs(self) -> int:
        return 1 if self.classes == 2 else self.classes

    @property
    def summary(self) -> str:
        return f"{self.classes:,} classes"

    @property
    def losses(self) -> tuple[str, ...]:
        return ("BinaryCrossEntropy", "Hinge", "SquaredHinge") if self.outputs == 1 else ("CrossEntropy",)

    def training_sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"correct": float((predicted_classes(outputs) == targets).sum())}

    def training_metrics(self, sums: Mapping[str, float], samples: int) -> dict[str, float]:
        return {"accuracy": sums["correct"] / samples} if samples and "correct" in sums else {}

    @property
    def metrics(self) -> tuple[str, ...]:
        counted = ("macroF1",) if self.classes <= MOST_COUNTED else ()
        return ("accuracy", *counted, *(("auc",) if self.classes == 2 else ()), "loss")

    def _usual(self) -> tuple[str, ...]:
        return self.metrics if self.classes <= COUNTED_UNASKED else ("accuracy",)

    def _measure(self, name: str, held_out: int) -> Measure:
        match name:
            case "accuracy":
                return measures.Accuracy()
            case "macroF1":
                return measures.MacroF1()
            case _:
                return measures.Auc(held_out)

    def _target_problems(self, spec: "Spec") -> Iterator[Problem]:
        if spec.data.scale_target:
            yield "spec.data.scaleTarget", "is for regression; the data's targets are classes"
        weights = spec.model.class_weights
        if weights is None:
            return
        if weights.values is not None and len(weights.values) != self.classes:
            yield (
                "spec.model.classWeights.values",
                f"has {len(weights.values)} weights for {self.summary}: give one a class",
            )
        if weights.policy is not None and self.classes > MOST_COUNTED:
            yield (
                "spec.model.classWeights.policy",
                f"is for at most {MOST_COUNTED} classes, not {self.classes:,}: give values",
            )

    def _weights(self, model: "ModelSpec") -> tuple[float, ...] | None:
        """The given weights, or balanced ones: N / (classes seen · samples of the class), with mean 1 over samples."""
        asked = model.class_weights
        if asked is None or asked.values is not None:
            return None if asked is None else tuple(asked.values or ())
        counts = [*self.targets.statistics.get("counts", ())]
        counts += [0.0] * (self.classes - len(counts))
        share = sum(counts) / max(1, sum(count > 0 for count in counts))
        return tuple(share / count if count else 1.0 for count in counts)

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        return np.asarray(self.probabilities(outputs).argmax(axis=1))

    def named(self, targets: np.ndarray) -> np.ndarray:
        names = self.targets.class_names
        return np.array(names)[targets] if names else targets

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The softmax of the outputs, or for a single logit 1 − sigmoid and sigmoid, as float64 [n, classes]."""
        logits = outputs.astype(np.float64)
        if logits.shape[1] == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        return logits

    def answers(self, outputs: np.ndarray, top: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for chances in self.probabilities(outputs):
            best = np.argsort(-chances, kind="stable")[:top]
            classes = [self._answer(int(each), float(chances[each])) for each in best]
            rows.append({**classes[0], "top": classes} if top > 1 else classes[0])
        return rows

    def _answer(self, number: int, probability: float) -> dict[str, Any]:
        names = self.targets.class_names
        return {"class": number, **({"label": names[number]} if names else {}), "probability": probability}

    def in_words(self, answer: Mapping[str, Any]) -> str:
        return ", ".join(
            f"{each.get('label', 'class ' + str(each['class']))} ({each['probability'] * 100:.1f} %)"
            for each in answer.get("top", [answer])
        )


def _are_few(targets: np.ndarray) -> bool:
    """Whether floats [n] look like the numbers of classes: whole, small, few, and each there twice on average."""
    with np.errstate(invalid="ignore"):
        integral = bool(((targets == np.floor(targets)) & (np.abs(targets) <= _SMALL)).all())
    if not integral:
        return False
    kinds = len(np.unique(targets))
    return kinds <= _FEW and 2 * kinds <= len(targets)
