"""How metrics are computed: sums over samples, which add up across batches and calls, and the value that they make.

A worker that runs out of time hands its sums on, and the next call goes on from them: so every metric is made from
float64 sums by name. `outputs` are float32 or float64 [n, outputs]; `targets` are as the task's batches have them.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from sapflow.tasks.metric import METRICS, Metric

SumsByName = dict[str, float]

EXACT_SCORES = 4096
"""Held-out samples up to which AUC is exact."""
_KEPT_BITS = 16


class Measure(ABC):
    """One metric of one task, told of batch after batch."""

    metric: ClassVar[Metric]

    @abstractmethod
    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        """What a batch adds. Names begin with the metric's own."""

    @abstractmethod
    def value(self, sums: Mapping[str, float], samples: int) -> float:
        """The metric of all batches; NaN where it is not defined."""

    def _parts(self, sums: Mapping[str, float], part: str) -> SumsByName:
        """The sums of one part, by what stands behind it: those of `macroF1.true.7` under `7`."""
        prefix = f"{self.metric.name}.{part}."
        return {name[len(prefix) :]: value for name, value in sums.items() if name.startswith(prefix)}

    def _named(self, part: str, names: np.ndarray, values: np.ndarray) -> SumsByName:
        """Sums by their names; zeros are left out."""
        kept = np.flatnonzero(values)
        prefix = f"{self.metric.name}.{part}"
        return {
            f"{prefix}.{name}": float(value)
            for name, value in zip(names[kept].tolist(), values[kept].tolist(), strict=True)
        }


class Accuracy(Measure):
    """The share of samples whose class is predicted."""

    metric = METRICS["accuracy"]

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"accuracy": float((predicted_classes(outputs) == targets).sum())}

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        return sums["accuracy"] / samples


class LabelAccuracy(Measure):
    """Of several labels a sample: the share of labels that are predicted."""

    metric = METRICS["accuracy"]

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"accuracy": float(((outputs > 0) == (targets > 0.5)).mean(axis=1).sum())}

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        return sums["accuracy"] / samples


class ExactMatch(Measure):
    """Of several labels a sample: the share of samples of which every label is predicted."""

    metric = METRICS["exactMatch"]

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"exactMatch": float(((outputs > 0) == (targets > 0.5)).all(axis=1).sum())}

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        return sums["exactMatch"] / samples


class MacroF1(Measure):
    """The mean over classes of F1 = 2·hits / (predicted + true), each class counting the same.

    Of classes that are neither predicted nor true there is no F1. With `labels`, of which a sample may have several,
    such a label counts as 0. Both are what scikit-learn's f1_score does with average="macro".
    """

    metric = METRICS["macroF1"]

    def __init__(self, labels: int | None = None) -> None:
        self._labels = labels

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        if self._labels is not None:
            predicted, true = outputs > 0, targets > 0.5
            names = np.arange(self._labels)
            counts = [
                ("hit", (predicted & true).sum(0)), ("predicted", predicted.sum(0)), ("true", true.sum(0))
            ]  # fmt: skip
            return {
                name: value for part, each in counts for name, value in self._named(part, names, each).items()
            }
        classes = predicted_classes(outputs)
        found: SumsByName = {}
        for part, labels in (("hit", classes[classes == targets]), ("predicted", classes), ("true", targets)):
            found |= self._named(part, *np.unique(labels, return_counts=True))
        return found

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        hits, predicted, true = (self._parts(sums, part) for part in ("hit", "predicted", "true"))
        seen = sorted(predicted.keys() | true.keys())
        each = [2 * hits.get(name, 0.0) / (predicted.get(name, 0.0) + true.get(name, 0.0)) for name in seen]
        return math.fsum(each) / (self._labels or len(each))


class Auc(Measure):
    """The area under the ROC curve of two classes: how often a sample of class 1 scores above one of class 0.

    Samples are counted by score and class, and equal scores count half (Mann and Whitney, 1947). Up to EXACT_SCORES
    held-out samples scores are told apart as the float32 numbers that they are. Above, they are rounded down to 8
    significant bits, which bounds the counts by some thousands; the area is then off by less than half the share of
    pairs that the rounding makes equal.
    """

    metric = METRICS["auc"]

    def __init__(self, samples: int) -> None:
        """`samples`: held-out samples in all, which says how finely scores are told apart."""
        self._shift = 0 if samples <= EXACT_SCORES else 32 - _KEPT_BITS

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        # Adding 0 makes one zero of the two that float32 has.
        scores = outputs.reshape(len(outputs)).astype(np.float32) + np.float32(0)
        if np.isnan(scores).any():
            return {"auc.undefined": 1.0}
        bits = scores.view(np.uint32)
        ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)) >> self._shift
        truth = targets.reshape(len(targets)) > 0.5
        found: SumsByName = {}
        for part, chosen in (("one", ordered[truth]), ("zero", ordered[~truth])):
            found |= self._named(part, *np.unique(chosen, return_counts=True))
        return found

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        ones, zeros = self._parts(sums, "one"), self._parts(sums, "zero")
        pairs = math.fsum(ones.values()) * math.fsum(zeros.values())
        if "auc.undefined" in sums or not pairs:
            return math.nan
        below = area = 0.0
        for score in sorted(ones.keys() | zeros.keys(), key=int):
            here = zeros.get(score, 0.0)
            area += ones.get(score, 0.0) * (below + here / 2)
            below += here
        return area / pairs


class AbsoluteError(Measure):
    """MAE: the mean of |output − target|, over samples and outputs."""

    metric = METRICS["mae"]

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"mae": float(np.abs(_errors(outputs, targets)).mean(axis=1).sum())}

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        return sums["mae"] / samples


class RootSquaredError(Measure):
    """RMSE: the root of the mean of (output − target)², over samples and outputs."""

    metric = METRICS["rmse"]

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"rmse": float(np.square(_errors(outputs, targets)).mean(axis=1).sum())}

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        return math.sqrt(sums["rmse"] / samples)


class Determination(Measure):
    """R²: 1 − Σ(output − target)² / Σ(target − mean)², the mean over outputs.

    Targets are summed as differences from `centre`, the mean of the training samples: near their own mean, so that
    little is lost where the two sums of squares are subtracted. A target that never changes has R² 1 where it is hit
    exactly, else 0, as in scikit-learn's r2_score.
    """

    metric = METRICS["r2"]

    def __init__(self, centre: np.ndarray) -> None:
        """`centre`: float64 [outputs]."""
        self._centre = centre

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        names = np.arange(len(self._centre))
        apart = targets.reshape(len(targets), -1).astype(np.float64) - self._centre
        return {
            **self._named("error", names, np.square(_errors(outputs, targets)).sum(axis=0)),
            **self._named("sum", names, apart.sum(axis=0)),
            **self._named("squares", names, np.square(apart).sum(axis=0)),
        }

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        errors, totals, squares = (self._parts(sums, part) for part in ("error", "sum", "squares"))
        found = []
        for name in map(str, range(len(self._centre))):
            error = errors.get(name, 0.0)
            spread = squares.get(name, 0.0) - totals.get(name, 0.0) ** 2 / samples
            # What is left of a target that never changes is the rounding of the two squares.
            steady = spread <= 1e-12 * squares.get(name, 0.0)
            found.append((0.0 if error else 1.0) if steady else 1 - error / spread)
        return math.fsum(found) / len(found)


def predicted_classes(outputs: np.ndarray) -> np.ndarray:
    """Class numbers int64 [n]: the highest output, or of one logit its sign."""
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        return (outputs.reshape(len(outputs)) > 0).astype(np.int64)
    return np.asarray(outputs.argmax(axis=1))


def _errors(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """float64 [n, outputs]."""
    truth = targets.reshape(len(targets), -1).astype(np.float64)
    return np.asarray(outputs.reshape(len(outputs), -1).astype(np.float64) - truth)
