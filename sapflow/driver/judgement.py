"""Decides which version is a job's result, by its metrics on the held-out samples. Pure.

Evaluations run beside the steps and end in any order. So versions are judged in their own order, each once and by
metrics that are recorded in the store. Every driver of a job then comes to the same result, whatever the previous one
was doing when it died.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sapflow.quantities.metric import METRICS, Metric
from sapflow.records.judged import Judged
from sapflow.spec.training_job import Spec

ChosenBy = Literal["Target", "Best", "EarlyStopping", "LastStep"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The version that is the result, and why."""

    version: int
    by: ChosenBy


class Judgement:
    """Judges the metrics of evaluated versions, in the order of versions.

    The first version that meets the target is the result. Early stopping ends the job at the version at which its
    patience is used up; the result is then the best version up to there with `keepBest`, else that version itself.
    """

    def __init__(self, spec: Spec) -> None:
        algorithm = spec.algorithm
        self._target, self._stopping = algorithm.wanted, algorithm.early_stopping
        self._best_by = None if spec.evaluation.keep_best is None else _metric(spec.evaluation.keep_best)
        self.restore(Judged())

    def restore(self, state: Judged) -> None:
        """Go on from an earlier driver's state."""
        self.through = state.through
        """The newest version that is judged."""
        self.reached = state.reached
        """The version that meets the target."""
        self.stopped = state.stopped
        """The version at which early stopping ends the job."""
        self.best = state.best
        """The best version so far, with `keepBest`; of equal ones the earlier."""
        self._best_value, self._watched, self._waited = state.best_value, state.watched, state.waited

    @property
    def state(self) -> Judged | None:
        """The state for `restore`; None if nothing is judged yet."""
        if not self.through:
            return None
        return Judged(
            through=self.through,
            reached=self.reached,
            stopped=self.stopped,
            best=self.best,
            best_value=self._best_value,
            watched=self._watched,
            waited=self._waited,
        )

    @property
    def decided(self) -> bool:
        """Whether no later version can change the result."""
        return self.reached is not None or self.stopped is not None

    @property
    def candidates(self) -> set[int]:
        """The judged versions that may still be the result, so that their objects must stay."""
        if self.reached is not None:
            return {self.reached}
        if self.best is not None:
            return {self.best}
        return set() if self.stopped is None else {self.stopped}

    def judge(self, version: int, values: Mapping[str, float]) -> None:
        """Judge the next version. A value that is missing or not finite meets no target and is never better."""
        if self.decided:
            return
        self.through = version
        target = self._target
        if target is not None and _metric(target.metric).meets(_of(values, target.metric), target.value):
            self.reached = version
            return
        best = self._best_by
        if best is not None and best.improves(_of(values, best.name), self._best_value):
            self.best, self._best_value = version, values[best.name]
        self._watch(version, values)

    def _watch(self, version: int, values: Mapping[str, float]) -> None:
        stopping = self._stopping
        if stopping is None:
            return
        value = _of(values, stopping.metric)
        if _metric(stopping.metric).improves(value, self._watched, stopping.min_delta):
            self._watched, self._waited = value, 0
            return
        self._waited += 1
        if self._waited >= stopping.patience:
            self.stopped = version

    def choice(self, last: int) -> Choice:
        """The result of a job whose last version is `last`, once all evaluated versions are judged."""
        if self.reached is not None:
            return Choice(self.reached, "Target")
        if self.best is not None:
            return Choice(self.best, "Best")
        if self.stopped is not None:
            return Choice(self.stopped, "EarlyStopping")
        return Choice(last, "LastStep")


def _metric(name: str) -> Metric:
    return METRICS[name]


def _of(values: Mapping[str, float], name: str) -> float:
    return values.get(name, math.nan)
