"""Optuna's TPE for a study that grows by one trial at a time: what one suggestion has converted, the next one knows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.trial import FrozenTrial

from sapflow.tuning.samplers import normal_tail

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

normal_tail.install()


class History:
    """The values of a study's trials as TPE's arrays have them, a row for each trial's number. Values never change."""

    def __init__(self, *, include_pruned: bool) -> None:
        """`include_pruned`: whether the sampler reads trials that are PRUNED."""
        self._include_pruned = include_pruned
        self.forget()
        self._columns: dict[str, NDArray[np.float64]] = {}
        """By parameter and then number: values as Optuna counts them, NaN where a trial does not have the parameter."""
        self._filled = np.zeros(0, dtype=bool)

    def forget(self) -> None:
        """A trial that was compared with the others is none any more."""
        self.common = IntersectionSearchSpace(include_pruned=self._include_pruned)
        """The parameters that all trials have, as far as they were compared."""

    def rows(
        self, trials: Sequence[FrozenTrial], space: "Mapping[str, BaseDistribution]"
    ) -> dict[str, NDArray[np.float64]]:
        """The values of those trials that have all parameters of the space, in their order."""
        numbers = np.fromiter((trial.number for trial in trials), np.int64, len(trials))
        self._grow(int(numbers.max(initial=-1)) + 1)
        for place in np.flatnonzero(~self._filled[numbers]).tolist():
            self._fill(trials[place])
        found = {name: self._column(name)[numbers] for name in space}
        complete = np.ones(len(trials), dtype=bool)
        for column in found.values():
            complete &= ~np.isnan(column)
        return {name: column[complete] for name, column in found.items()}

    def _fill(self, trial: FrozenTrial) -> None:
        for name, distribution in trial.distributions.items():
            self._column(name)[trial.number] = distribution.to_internal_repr(trial.params[name])
        self._filled[trial.number] = True

    def _column(self, name: str) -> NDArray[np.float64]:
        if name not in self._columns:
            self._columns[name] = np.full(len(self._filled), np.nan)
        return self._columns[name]

    def _grow(self, count: int) -> None:
        more = max(count - len(self._filled), 0)
        if more:
            more = max(more, len(self._filled), 64)
            self._filled = np.concatenate([self._filled, np.zeros(more, dtype=bool)])
            for name, column in self._columns.items():
                self._columns[name] = np.concatenate([column, np.full(more, np.nan)])


class HistoryTpe(TPESampler):
    """TPE that takes what follows from the study alone from a `History`. All trials of the study but the one that is
    being suggested must have all their parameters."""

    def __init__(self, history: History, **options: Any) -> None:
        super().__init__(**options)
        self._history = history
        self._search_space = history.common

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: "dict[str, BaseDistribution]", study: "Study"
    ) -> dict[str, NDArray[np.float64]]:
        return self._history.rows(trials, search_space)
