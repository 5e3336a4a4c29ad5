"""Population-based training (Jaderberg et al., 2017): a trial among the worst is replaced by a copy of one of the
best, at the version that this one had at the same length, with parameters a little changed.

The copy is a fork: a trial of its own, which begins at the other's version and copies nothing. It takes the place of
the trial that it replaces, so it does not count to maxTrials.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from sapflow.spec.parameters import ParameterSpec
from sapflow.tuning.actions import Fork, Parameters, Stop
from sapflow.tuning.entries import Train
from sapflow.tuning.pruners.pruner import Move, Pruner
from sapflow.tuning.trial import Trial

CHANGES = (0.8, 1.2)
"""What a number is multiplied by."""


class Pbt(Pruner):
    """All trials are one population, which is judged at every interval."""

    def __init__(
        self,
        parameters: Sequence[ParameterSpec],
        seed: int,
        first: int,
        interval: int,
        quantile: float,
        length: int,
    ) -> None:
        self._parameters, self._seed = parameters, seed
        self._first, self._interval, self._quantile, self._length = first, interval, quantile, length
        self._reached: dict[int, list[tuple[float, int, int, Trial]]] = {}
        """By length: (−score, number, version, trial) of all that have got there."""
        self._waiting: dict[int, tuple[int, float]] = {}
        """By trial: the length at which it is paused, and its score."""
        self._live: dict[int, int] = {}
        """By trial that has begun and not ended: the length that it has reported."""
        self._gone: set[int] = set()
        """Trials that were stopped or have failed: their versions may be gone."""
        self._floor = 0
        """Versions at shorter lengths are no longer needed: every trial has passed them."""

    def first(self, number: int, length: int) -> int:
        return min(self._first, length)

    def next(self, number: int, more: bool) -> Move:
        for trial, (at, score) in self._waiting.items():
            to = min(at + self._interval, self._length)
            source = self._better(trial, at, score, number)
            if source is None:
                return (Train(trial, to),)
            _, other, version, model = source
            changed = self.changed(model.parameters, number)
            return (
                Stop(trial, "Replaced"),
                Fork(number, other, version, at, changed),
                Train(number, to),
            )
        return ()

    def trained(self, trial: Trial, to: int) -> None:
        self._waiting.pop(trial.number, None)
        self._live.setdefault(trial.number, trial.at)

    def kept(self, number: int) -> set[int]:
        """A trial may have to begin at a version of another that is further by now."""
        return {
            version
            for reached in self._reached.values()
            for _, other, version, _ in reached
            if other == number
        }

    def reported(self, trial: Trial, at: int, score: float, version: int) -> None:
        if at >= self._floor:
            self._reached.setdefault(at, []).append((-score, trial.number, version, trial))
        self._waiting[trial.number] = (at, score)
        self._live[trial.number] = at
        self._rise()

    def ended(self, trial: Trial, score: float | None) -> None:
        self._waiting.pop(trial.number, None)
        self._live.pop(trial.number, None)
        if score is None:
            self._gone.add(trial.number)
        self._rise()

    def _rise(self) -> None:
        """Forget the lengths that every trial has passed."""
        self._floor = max(self._floor, min(self._live.values(), default=self._length))
        for at in [each for each in self._reached if each < self._floor]:
            del self._reached[at]

    def _better(self, trial: int, at: int, score: float, number: int) -> tuple[float, int, int, Trial] | None:
        """One of the best at this length, if the trial is one of the worst."""
        ranks = sorted(self._reached.get(at, ()), key=lambda each: each[:2])
        count = int(len(ranks) * self._quantile)
        if count == 0 or (-score, trial) < ranks[-count][:2]:
            return None
        best = [each for each in ranks[:count] if each[1] not in self._gone]
        return Random(f"{self._seed}/{number}/source").choice(best) if best else None

    def changed(self, parameters: Parameters, number: int) -> dict[str, Any]:
        """Parameters for the fork of this number, each a little more or less, within its bounds."""
        random = Random(f"{self._seed}/{number}/changes")
        result = dict(parameters)
        for each in self._parameters:
            if each.path in result:
                result[each.path] = _changed(each, result[each.path], random)
        return result


def _changed(parameter: ParameterSpec, value: Any, random: Random) -> Any:
    factor = random.choice(CHANGES)
    if parameter.categorical is not None:
        choices = parameter.categorical.choices
        place = choices.index(value) + (1 if factor > 1 else -1)
        return choices[min(max(place, 0), len(choices) - 1)]
    if parameter.int_ is not None:
        step = parameter.int_.step or 1
        places = round((value * factor - parameter.int_.min) / step)
        if parameter.int_.min + places * step == value:
            places += 1 if factor > 1 else -1
        most = (parameter.int_.max - parameter.int_.min) // step
        return parameter.int_.min + min(max(places, 0), most) * step
    assert parameter.float_ is not None
    bounds = parameter.float_
    wanted = min(max(value * factor, bounds.min), bounds.max)
    if bounds.step is None:
        return wanted
    places = round((wanted - bounds.min) / bounds.step)
    return min(bounds.min + places * bounds.step, bounds.max)
