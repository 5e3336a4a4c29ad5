"""Regression with one or more numbers per sample, which may be scaled for the loss."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from sapflow.tasks import measures
from sapflow.tasks.measures import Measure, SumsByName
from sapflow.tasks.targets import Counted, Rows, Targets, ValueMoments
from sapflow.tasks.task import COUNTED_UNASKED, MOST_COUNTED, LossSettings, Problem, Task

if TYPE_CHECKING:
    from sapflow.spec.learning import ModelSpec
    from sapflow.spec.training_job import Spec


class Regression(Task):
    name = "regression"
    family = "regression"
    stored: ClassVar[Literal["int32", "float32"]] = "float32"
    batched: ClassVar[Literal["int64", "float32"]] = "float32"
    _absolute = measures.AbsoluteError()

    @classmethod
    def fits(cls, targets: np.ndarray, *, asked: bool) -> bool:
        return asked or targets.dtype.kind == "f"

    @classmethod
    def checked(cls, targets: np.ndarray, rows: Rows, classes: int | None) -> np.ndarray:
        with np.errstate(over="ignore"):
            values = targets.astype(np.float32)
        rows.refuse(~np.isfinite(values), targets, "target", "targets must be finite float32 numbers")
        return values

    @classmethod
    def counted(cls) -> Counted:
        return ValueMoments()

    @classmethod
    def wrong(cls, targets: Targets) -> str | None:
        if len(targets.shape) > 1:
            return "target_shape"
        return None if targets.classes is None else "classes"

    @property
    def outputs(self) -> int:
        return self.targets.values

    @property
    def summary(self) -> str:
        return f"{self.outputs:,} value{'' if self.outputs == 1 else 's'}"

    @property
    def losses(self) -> tuple[str, ...]:
        return "MSE", "L1", "Huber"

    def loss(self, model: "ModelSpec") -> LossSettings:
        settings = super().loss(model)
        if not self._scale_target:
            return settings
        return replace(settings, shift=self._statistic("mean"), scale=self._statistic("deviation"))

    def _statistic(self, name: str) -> tuple[float, ...]:
        neutral = 1.0 if name == "deviation" else 0.0
        return self.targets.statistics.get(name, (neutral,) * self.outputs)

    def training_sums(self, outputs: np.ndarray, targets: np.ndarray) -> SumsByName:
        return self._absolute.sums(self.metric_values(outputs), targets)

    def training_metrics(self, sums: Mapping[str, float], samples: int) -> dict[str, float]:
        return {"mae": self._absolute.value(sums, samples)} if samples and "mae" in sums else {}

    def metric_values(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs float64 [n, outputs] in the targets' own units."""
        values = outputs.reshape(len(outputs), -1).astype(np.float64)
        if self._scale_target:
            values = values * np.array(self._statistic("deviation")) + np.array(self._statistic("mean"))
        return values

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*(("r2",) if self.outputs <= MOST_COUNTED else ()), "mae", "rmse", "loss")

    def _usual(self) -> tuple[str, ...]:
        return ("r2", "mae") if self.outputs <= COUNTED_UNASKED else ("mae",)

    def _measure(self, name: str, held_out: int) -> Measure:
        match name:
            case "r2":
                return measures.Determination(np.array(self._statistic("mean")))
            case "mae":
                return measures.AbsoluteError()
            case "rmse":
                return measures.RootSquaredError()
        raise ValueError(f"regression measures no {name!r}")

    def _target_problems(self, spec: "Spec") -> Iterator[Problem]:
        for field, given in (
            ("classWeights", spec.model.class_weights is not None),
            ("labelSmoothing", spec.model.label_smoothing is not None),
        ):
            if given:
                yield (
                    f"spec.model.{field}",
                    "is for classification; the data's targets are values: leave it out",
                )

    @property
    def needed_to_predict(self) -> dict[str, list[float]]:
        if not self._scale_target:
            return {}
        return {name: list(self._statistic(name)) for name in ("mean", "deviation")}

    def predictions(self, outputs: np.ndarray) -> np.ndarray:
        return self.metric_values(outputs).astype(np.float32) if self._scale_target else outputs

    def answers(self, outputs: np.ndarray, top: int) -> list[dict[str, Any]]:
        return [{"values": values.tolist()} for values in self.predictions(outputs)]

    def in_words(self, answer: Mapping[str, Any]) -> str:
        return ", ".join(f"{value:.6g}" for value in answer["values"])
