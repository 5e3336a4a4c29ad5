"""How a part of the training samples is held out for evaluation, while a source is read.

Each way keeps running counts, so the part is what the fraction asks for at every moment, in memory that does not grow
with the number of samples.
"""

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np

from sapflow.data.group_split import held_groups
from sapflow.data.shuffle import permutation
from sapflow.errors import DataError
from sapflow.tasks.task import Task

SplitName = Literal["Random", "Stratified"]
_SPLIT = 1


class Split(ABC):
    """Chooses samples of one group of consecutive ones after the other."""

    @abstractmethod
    def held(self, targets: np.ndarray, index: int, groups: np.ndarray | None) -> np.ndarray:
        """bool [n]: which of the next samples are held out.

        `targets` are checked, `index` is the number of these samples' group of consecutive ones, `groups` what each
        sample belongs to, if the source says it.
        """


class _Random(Split):
    def __init__(self, fraction: float, seed: int) -> None:
        self._fraction, self._seed, self._seen = fraction, seed, 0

    def held(self, targets: np.ndarray, index: int, groups: np.ndarray | None) -> np.ndarray:
        held = np.zeros(len(targets), bool)
        if self._fraction:
            # Rounding the running total makes the groups' held-out samples add up to the right number.
            before, self._seen = self._seen, self._seen + len(targets)
            wanted = _rounded(self._fraction * self._seen) - _rounded(self._fraction * before)
            held[permutation(len(targets), self._seed, _SPLIT, index)[:wanted]] = True
        return held


class _Stratified(Split):
    """Of each class the number nearest to the fraction, but never all: a class must be there to be learnt."""

    def __init__(self, fraction: float, seed: int) -> None:
        self._fraction, self._seed = fraction, seed
        self._seen = np.zeros(0, np.int64)

    def held(self, targets: np.ndarray, index: int, groups: np.ndarray | None) -> np.ndarray:
        order = permutation(len(targets), self._seed, _SPLIT, index)
        classes, place, counts = np.unique(targets[order], return_inverse=True, return_counts=True)
        if (missing := int(classes[-1]) + 1 - len(self._seen)) > 0:
            self._seen = np.pad(self._seen, (0, missing))
        before = self._seen[classes]
        after = self._seen[classes] = before + counts
        wanted = self._wanted(after) - self._wanted(before)
        # In the random order, the first ones of each class are held out.
        by_class = np.argsort(place, kind="stable")
        rank = np.empty(len(targets), np.int64)
        rank[by_class] = np.arange(len(targets)) - np.repeat(np.cumsum(counts) - counts, counts)
        held = np.zeros(len(targets), bool)
        held[order] = rank < wanted[place]
        return held

    def _wanted(self, seen: np.ndarray) -> np.ndarray:
        nearest = np.floor(self._fraction * seen + 0.5).astype(np.int64)
        return np.asarray(np.minimum(nearest, np.maximum(seen - 1, 0)))


class _Grouped(Split):
    def __init__(self, fraction: float, seed: int) -> None:
        self._fraction, self._seed = fraction, seed

    def held(self, targets: np.ndarray, index: int, groups: np.ndarray | None) -> np.ndarray:
        assert groups is not None, "a source that groups some samples groups all"
        return held_groups(groups, self._fraction, self._seed)


def split_for(
    name: SplitName | None,
    fraction: float,
    seed: int,
    *,
    task: type[Task],
    targets: np.ndarray,
    grouped: bool,
) -> Split:
    """The way that is asked for; `targets` are the first samples' targets for the task, and they are `grouped` or not.

    Raises DataError if it does not fit.
    """
    if name == "Stratified":
        if grouped:
            raise DataError(
                "data.split: Stratified and data.options: group exclude each other: leave one out"
            )
        if task.highest_class(targets) is None:
            raise DataError(
                f"data.split: Stratified is for classes, one a sample, and the targets are those of {task.name}: leave "
                "split out"
            )
        return _Stratified(fraction, seed)
    return _Grouped(fraction, seed) if grouped else _Random(fraction, seed)


def refuse_without_use(name: SplitName | None, source: str, brings_validation: bool) -> None:
    """Raise DataError if samples are to be held out in a way of their own of a source that brings a validation set."""
    if name is not None and brings_validation:
        raise DataError(
            f"{source} brings a validation set of its own, so nothing is held out: leave data.split out"
        )


def _rounded(value: float) -> int:
    return int(value + 0.5)
