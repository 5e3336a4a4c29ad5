"""Decisions as tensors: an array for each part of a decision, with a row for each row of the request."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sapflow.serving.boxes import MOST
from sapflow.serving.decisions import Decision, Decisions
from sapflow.serving.v2 import BYTES, Tensor


class OutputTensors:
    """The outputs of one model. Which there are, and their types, follows from its decision alone."""

    def __init__(self, decisions: Decisions, outputs: int) -> None:
        """`outputs` is the number of values that the network gives for a row."""
        self._decisions, self._outputs = decisions, outputs
        spec = decisions.spec
        self._top = min(spec.top, len(decisions.labels))
        self._most = (spec.boxes.most or MOST) if spec.boxes is not None else 0
        self._said = spec.message is not None or spec.messages is not None

    def of(self, made: Sequence[Decision]) -> list[Tensor]:
        """The tensors of some decisions."""
        kind = self._decisions.kind
        if kind == "boxes":
            found = self._boxes(made)
        elif kind == "multilabel":
            found = self._several(made)
        elif kind == "classification":
            found = self._classes(made)
        else:
            values = np.array([each.get("values", [each.get("value")]) for each in made], np.float64)
            found = [Tensor("value", "FP64", values[:, 0] if self._outputs == 1 else values)]
        if self._top:
            labels = [[str(one["label"]) for one in each["top"]] for each in made]
            chances = [[one["probability"] for one in each["top"]] for each in made]
            found.append(Tensor("top_labels", BYTES, _texts(labels)))
            found.append(Tensor("top_probabilities", "FP64", np.array(chances)))
        if self._said:
            found.append(Tensor("message", BYTES, _texts([each.get("message", "") for each in made])))
        return found

    def metadata(self) -> list[dict[str, Any]]:
        """The outputs of the model's metadata."""
        kind, labels = self._decisions.kind, len(self._decisions.labels)
        told: list[tuple[str, str, list[int]]]
        if kind == "boxes":
            most = self._most
            told = [
                ("count", "INT64", []),
                ("boxes", "FP64", [most, 4]),
                ("scores", "FP64", [most]),
                ("classes", BYTES, [most]),
            ]
        elif kind == "multilabel":
            told = [("labels", "INT64", [labels])]
        elif kind == "classification":
            told = [("label", BYTES, []), ("probability", "FP64", []), ("abstained", "BOOL", [])]
        else:
            told = [("value", "FP64", [] if self._outputs == 1 else [self._outputs])]
        if self._decisions.spec.answer == "Probabilities":
            told.append(("probabilities", "FP64", [labels]))
        if self._top:
            told += [("top_labels", BYTES, [self._top]), ("top_probabilities", "FP64", [self._top])]
        if self._said:
            told.append(("message", BYTES, []))
        return [{"name": name, "datatype": datatype, "shape": [-1, *shape]} for name, datatype, shape in told]

    def _classes(self, made: Sequence[Decision]) -> list[Tensor]:
        found = [
            Tensor("label", BYTES, _texts([str(each["label"]) for each in made])),
            Tensor("probability", "FP64", np.array([each["probability"] for each in made])),
            Tensor("abstained", "BOOL", np.array([each.get("abstained", False) for each in made], bool)),
        ]
        if self._decisions.spec.answer == "Probabilities":
            every = np.array([[*each["probabilities"].values()] for each in made])
            found.append(Tensor("probabilities", "FP64", every))
        return found

    def _several(self, made: Sequence[Decision]) -> list[Tensor]:
        labels = self._decisions.labels
        there = np.array([[int(label in each["labels"]) for label in labels] for each in made], np.int64)
        found = [Tensor("labels", "INT64", there)]
        if self._decisions.spec.answer == "Probabilities":
            found.append(Tensor("probabilities", "FP64", np.array([each["all"] for each in made])))
        return found

    def _boxes(self, made: Sequence[Decision]) -> list[Tensor]:
        count, most = len(made), self._most
        corners, scores = np.zeros((count, most, 4)), np.zeros((count, most))
        classes = np.full((count, most), "", object)
        for row, each in enumerate(made):
            for place, box in enumerate(each["boxes"]):
                corners[row, place], scores[row, place] = box["corners"], box["score"]
                classes[row, place] = str(box["label"])
        return [
            Tensor("count", "INT64", np.array([each["count"] for each in made], np.int64)),
            Tensor("boxes", "FP64", corners),
            Tensor("scores", "FP64", scores),
            Tensor("classes", BYTES, classes),
        ]


def _texts(values: Sequence[Any]) -> np.ndarray:
    return np.array(values, object)
