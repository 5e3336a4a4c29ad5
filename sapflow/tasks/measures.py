"""The computation of metrics from sums over samples, which can be added across batches and calls.

If a worker runs out of time, the next call continues from its sums. So every metric is computed from named float64
sums. `outputs` are float32 or float64 [n, outputs]; `targets` are those of the task's batches.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from sapflow.quantities.metric import METRICS, Metric

SumsByName = dict[str, float]

EXACT_SCORES = 4096
"""AUC is exact for up to this many held-out samples."""
_KEPT_BITS = 16


class Measure(ABC):
    """A metric of a task, computed over batches."""

    metric: ClassVar[Metric]

    @abstractmethod
    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        """The sums of a batch. Their names begin with the metric's."""

    @abstractmethod
    def value(self, sums: Mapping[str, float], samples: int) -> float:
        """The metric over all batches; NaN if it is not defined."""

    def _parts(self, sums: Mapping[str, float], part: str) -> SumsByName:
        """The sums of a part by the last component of their names: that of `macroF1.true.7` is `7`."""
        prefix = f"{self.metric.name}.{part}."
        return {name[len(prefix) :]: value for name, value in sums.items() if name.startswith(prefix)}

    def _named(self, part: str, names: np.ndarray, values: np.ndarray) -> SumsByName:
        """Named sums without zeros."""
        kept = np.flatnonzero(values)
        prefix = f"{self.metric.name}.{part}"
        return {
            f"{prefix}.{name}": float(value)
            for name, value in zip(names[kept].tolist(), values[kept].tolist(), strict=True)
        }


class Accuracy(Measure):
    """The share of samples whose class is predicted correctly."""

    metric = METRICS["accuracy"]

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"accuracy": float((predicted_classes(outputs) == targets).sum())}

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        return sums["accuracy"] / samples


class LabelAccuracy(Measure):
    """With several labels per sample, the share of labels that are predicted correctly."""

    metric = METRICS["accuracy"]

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"accuracy": float(((outputs > 0) == (targets > 0.5)).mean(axis=1).sum())}

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        return sums["accuracy"] / samples


class ExactMatch(Measure):
    """With several labels per sample, the share of samples whose labels are all predicted correctly."""

    metric = METRICS["exactMatch"]

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return {"exactMatch": float(((outputs > 0) == (targets > 0.5)).all(axis=1).sum())}

    def value(self, sums: Mapping[str, float], samples: int) -> float:
        return sums["exactMatch"] / samples


class MacroF1(Measure):
    """The unweighted mean over classes of F1 = 2·hits / (predicted + true).

    Classes that are neither predicted nor true are left out. With `labels`, of which a sample may have several, such a
    label counts as 0. Both are like scikit-learn's f1_score with average="macro".
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
    """The area under the ROC curve: the probability that a sample of class 1 scores above one of class 0.

    Samples are counted by score and class, and equal scores count half (Mann and Whitney, 1947). Up to EXACT_SCORES
    held-out samples the scores are exact float32 numbers. Above that, they are rounded down to 8 significant bits,
    which limits the counts to some thousands; the error of the area is then less than half the share of pairs that
    rounding makes equal.
    """

    metric = METRICS["auc"]

    def __init__(self, samples: int) -> None:
        """`samples` is the number of held-out samples, which determines the precision of scores."""
        self._shift = 0 if samples <= EXACT_SCORES else 32 - _KEPT_BITS

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        # Adding 0 turns negative zero into zero.
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

    Targets are summed as differences from `centre`, the mean of the training samples, which is near their own mean, so
    that subtracting the two sums of squares loses little precision. A constant target has R² 1 if it is predicted
    exactly, else 0, as in scikit-learn's r2_score.
    """

    metric = METRICS["r2"]

    def __init__(self, centre: np.ndarray) -> None:
        """`centre` is float64 [outputs]."""
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
            # For a constant target, only rounding errors of the two squares remain.
            steady = spread <= 1e-12 * squares.get(name, 0.0)
            found.append((0.0 if error else 1.0) if steady else 1 - error / spread)
        return math.fsum(found) / len(found)


def predicted_classes(outputs: np.ndarray) -> np.ndarray:
    """Class numbers int64 [n], by the highest output, or for one logit by its sign."""
    if outputs.ndim == 1 or outputs.shape[1] == 1:
        return (outputs.reshape(len(outputs)) > 0).astype(np.int64)
    return np.asarray(outputs.argmax(axis=1))


def _errors(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The errors float64 [n, outputs]."""
    truth = targets.reshape(len(targets), -1).astype(np.float64)
    return np.asarray(outputs.reshape(len(outputs), -1).astype(np.float64) - truth)
