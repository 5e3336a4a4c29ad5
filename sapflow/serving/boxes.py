"""Boxes of a detector: scores, coordinates, and non-maximum suppression, class by class."""

from dataclasses import dataclass

import numpy as np

from sapflow.errors import SpecError
from sapflow.spec.serving.decision import BoxesSpec

MIN_SCORE, MAX_OVERLAP, MOST = 0.5, 0.5, 100


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes that were found in a sample, the likeliest first."""

    corners: np.ndarray
    """float64 [k, 4]: left, top, right, bottom."""
    scores: np.ndarray
    """float64 [k]."""
    classes: np.ndarray
    """int64 [k]."""


def check(spec: BoxesSpec, outputs: int) -> None:
    """Raise SpecError unless so many outputs of a sample are boxes of these classes."""
    each = 4 + len(spec.classes)
    if outputs % each:
        raise SpecError(
            [
                (
                    "spec.decision.boxes.classes",
                    f"has {len(spec.classes)} classes, so a box has {each} outputs, and the model's {outputs:,} are no "
                    "multiple of it: name all classes that it was trained on",
                )
            ]
        )


def found(spec: BoxesSpec, outputs: np.ndarray) -> list[Boxes]:
    """The boxes of each sample, of outputs [n, boxes · (4 + classes)]."""
    return [_of_sample(spec, each) for each in outputs.reshape(len(outputs), -1, 4 + len(spec.classes))]


def _of_sample(spec: BoxesSpec, each: np.ndarray) -> Boxes:
    values = each.astype(np.float64)
    scores = values[:, 4:]
    if spec.scores != "Probabilities":
        scores = np.exp(-np.logaddexp(0.0, -scores))
    corners = values[:, :4]
    if spec.coordinates == "Centers":
        half = corners[:, 2:] / 2
        corners = np.concatenate([corners[:, :2] - half, corners[:, :2] + half], axis=1)
    least = MIN_SCORE if spec.min_score is None else spec.min_score
    overlap = MAX_OVERLAP if spec.max_overlap is None else spec.max_overlap
    rows, classes = np.nonzero(scores >= least)
    kept: list[int] = []
    chosen = scores[rows, classes]
    # Of equal scores the box that comes first is kept, so that the answer follows from the outputs alone.
    for number in np.unique(classes).tolist():
        places = np.flatnonzero(classes == number)
        places = places[np.argsort(-chosen[places], kind="stable")]
        kept += places[suppressed(corners[rows[places]], overlap)].tolist()
    order = np.array(kept, np.int64)
    order = order[np.argsort(-chosen[order], kind="stable")][: spec.most or MOST]
    return Boxes(corners[rows[order]], chosen[order], classes[order].astype(np.int64))


def suppressed(corners: np.ndarray, overlap: float) -> np.ndarray:
    """The numbers of the boxes [k, 4] that stay: in their order, each that overlaps no earlier one that stays by more
    than `overlap`, the intersection as a part of the union."""
    areas = np.prod(np.maximum(corners[:, 2:] - corners[:, :2], 0), axis=1)
    left = np.arange(len(corners))
    stay: list[int] = []
    while len(left):
        first, left = left[0], left[1:]
        stay.append(int(first))
        sides = np.minimum(corners[first, 2:], corners[left, 2:]) - np.maximum(
            corners[first, :2], corners[left, :2]
        )
        shared = np.prod(np.maximum(sides, 0), axis=1)
        union = areas[first] + areas[left] - shared
        left = left[shared <= overlap * union]
    return np.array(stay, np.int64)
