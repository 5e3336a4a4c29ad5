"""From a model's outputs to decisions, as the spec says: labels, probabilities, thresholds, costs, abstention, boxes.

A decision is a JSON object for each sample; `tensors` gives the same as arrays with a row for each sample.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sapflow.errors import SpecError
from sapflow.serving import boxes, messages
from sapflow.serving.boxes import Boxes
from sapflow.serving.description import Description
from sapflow.spec.serving.decision import DecisionSpec

Row = Mapping[str, object]
Decision = dict[str, Any]
DEFAULT_THRESHOLD = 0.5
"""Of several labels, each by itself."""
_NOT_FOR = {
    "regression": (
        ("answer", "thresholds", "costs", "abstain", "messages"),
        "is for classes, and this model predicts values",
    ),
    "multilabel": (
        ("costs", "abstain", "messages"),
        "is for one class a sample, and this model has several labels",
    ),
}
"""The fields that make no sense of a kind of outputs, and why."""


class Decisions:
    """What is decided of the outputs of one model."""

    def __init__(self, about: Description, spec: DecisionSpec | None) -> None:
        """Raises SpecError, with the field, where the decision is not about such a model."""
        self.spec, self._about = spec or DecisionSpec(), about
        self._task = about.task_of()
        self.kind = "boxes" if self.spec.boxes is not None else self._task.name
        self.labels: tuple[str | int, ...] = self._labels()
        self._check()
        given = self.spec.thresholds or {}
        self._thresholds = np.array([given.get(str(each), np.nan) for each in self.labels], np.float64)
        self._costs = None if self.spec.costs is None else np.array(self.spec.costs, np.float64)
        self.row_columns = messages.columns_of(self.spec)
        """The columns of raw rows that messages name."""

    def of(self, outputs: np.ndarray, rows: Sequence[Row] | None = None) -> list[Decision]:
        """The decisions on outputs float32 [n, outputs]; `rows` are what messages may name."""
        if self.kind == "boxes":
            assert self.spec.boxes is not None
            made = [self._boxes(each) for each in boxes.found(self.spec.boxes, outputs)]
        elif self.kind == "classification":
            made = self._classes(self._task.probabilities(outputs))
        elif self.kind == "multilabel":
            made = self._several(self._task.probabilities(outputs))
        else:
            made = [_values(each) for each in self._task.predictions(outputs).tolist()]
        if self.spec.message is None and self.spec.messages is None:
            return made
        for number, each in enumerate(made):
            said = messages.message(self.spec, _spoken(each), {} if rows is None else rows[number])
            if said is not None:
                each["message"] = said
        return made

    def _labels(self) -> tuple[str | int, ...]:
        if self.spec.boxes is not None:
            return tuple(self.spec.boxes.classes)
        if self.kind == "classification":
            return self._about.class_names or tuple(range(self._about.classes or 2))
        return tuple(range(self._about.outputs)) if self.kind == "multilabel" else ()

    def _check(self) -> None:
        spec, count = self.spec, len(self.labels)
        if spec.boxes is not None:
            if self.kind != "boxes" or self._task.name == "classification":
                raise SpecError(
                    [("spec.decision.boxes", "is for detectors, and this model decides for classes")]
                )
            boxes.check(spec.boxes, self._about.outputs)
        problems: list[tuple[str, str]] = []
        fields, why = _NOT_FOR.get(self.kind, ((), ""))
        problems += [(field, f"{why}: leave it out") for field in fields if getattr(spec, field) is not None]
        if spec.costs is not None and self.kind == "classification" and len(spec.costs) != count:
            problems.append(
                ("costs", f"has {len(spec.costs)} rows, and the model has {count} classes: give one each")
            )
        known = {str(each) for each in self.labels}
        abstained = set() if spec.abstain is None else {spec.abstain.label}
        for field, names in (("thresholds", spec.thresholds), ("messages", spec.messages)):
            unknown = sorted(set(names or ()) - known - (abstained if field == "messages" else set()))
            if unknown and self.kind in ("classification", "multilabel"):
                told = ", ".join(sorted(known)[:20])
                problems.append(
                    (field, f"names {', '.join(unknown[:5])}, which is no class; there are {told}")
                )
        if problems:
            raise SpecError([(f"spec.decision.{field}", words) for field, words in problems])

    def _classes(self, chances: np.ndarray) -> list[Decision]:
        decided, certain = self._decided(chances)
        made: list[Decision] = []
        for each, number, sure in zip(chances, decided.tolist(), certain.tolist(), strict=True):
            decision = self._one(int(number), each, bool(sure))
            if self.spec.answer == "Probabilities":
                decision["probabilities"] = {
                    str(label): float(chance) for label, chance in zip(self.labels, each, strict=True)
                }
            if self.spec.top:
                decision["top"] = self._top(each)
            made.append(decision)
        return made

    def _one(self, number: int, chances: np.ndarray, sure: bool) -> Decision:
        if sure:
            return {"label": self.labels[number], "probability": float(chances[number])}
        label = "abstained" if self.spec.abstain is None else self.spec.abstain.label
        return {"label": label, "probability": float(chances[number]), "abstained": True}

    def _decided(self, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The class that is decided for, int [n], and whether it is: bool [n], False where the decision abstains."""
        certain = np.ones(len(chances), bool)
        abstain = self.spec.abstain
        if self._costs is not None:
            expected = chances @ self._costs
            decided = expected.argmin(axis=1)
            if abstain is not None and abstain.cost is not None:
                certain &= expected.min(axis=1) <= abstain.cost
        elif self.spec.thresholds is not None:
            decided, certain = self._by_thresholds(chances)
        else:
            decided = chances.argmax(axis=1)
        if abstain is not None and abstain.below is not None:
            certain &= chances[np.arange(len(chances)), decided] >= abstain.below
        return decided, certain

    def _by_thresholds(self, chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        has = ~np.isnan(self._thresholds)
        bound = np.where(has, self._thresholds, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(bound > 0, chances / bound, np.inf)
        reached = has & (chances >= bound)
        above = np.where(reached, factor, -1.0).argmax(axis=1)
        others = np.where(has, -1.0, chances).argmax(axis=1)
        any_reached = reached.any(axis=1)
        decided = np.where(any_reached, above, chances.argmax(axis=1) if has.all() else others)
        return decided, np.asarray(any_reached | (not has.all()))

    def _several(self, chances: np.ndarray) -> list[Decision]:
        bound = np.where(np.isnan(self._thresholds), DEFAULT_THRESHOLD, self._thresholds)
        made: list[Decision] = []
        for each in chances:
            there = np.flatnonzero(each >= bound).tolist()
            decision: Decision = {
                "labels": [self.labels[place] for place in there],
                "probabilities": [float(each[place]) for place in there],
            }
            if self.spec.answer == "Probabilities":
                decision["all"] = each.tolist()
            if self.spec.top:
                decision["top"] = self._top(each)
            made.append(decision)
        return made

    def _top(self, chances: np.ndarray) -> list[Decision]:
        """The likeliest classes, the likeliest first."""
        best = np.argsort(-chances, kind="stable")[: self.spec.top].tolist()
        return [{"label": self.labels[place], "probability": float(chances[place])} for place in best]

    def _boxes(self, found: Boxes) -> Decision:
        return {
            "count": len(found.scores),
            "boxes": [
                {"label": self.labels[number], "score": score, "corners": corners}
                for number, score, corners in zip(
                    found.classes.tolist(), found.scores.tolist(), found.corners.tolist(), strict=True
                )
            ],
        }


def _values(each: Any) -> Decision:
    return {"value": each[0]} if len(each) == 1 else {"values": each}


def _spoken(decision: Decision) -> dict[str, object]:
    """What a message may name of a decision."""
    spoken: dict[str, object] = {
        name: decision.get(name) for name in ("label", "probability", "value", "count")
    }
    if spoken["label"] is None and "labels" in decision:
        spoken["label"] = ", ".join(map(str, decision["labels"]))
    if spoken["value"] is None and "values" in decision:
        spoken["value"] = ", ".join(f"{each:g}" for each in decision["values"])
    return spoken
