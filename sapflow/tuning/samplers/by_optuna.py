"""Optuna's samplers, asked and told: Random, TPE, CMA-ES, QMC and Gaussian processes.

The study holds one trial of Optuna for each of ours. Trials that run or are paused are RUNNING there, stopped ones
PRUNED. Where ASHA or Hyperband pauses trials, TPE takes one for PRUNED at its last report from its first one on, while
it goes on, too (ADR 35). Every suggestion is made by a new sampler, which is seeded by the search's seed and the
trial's number; QMC alone has one seed for all, because its points are those of one sequence. What samplers note in the
study is either written into the log, or (the state of CMA-ES, which Optuna pickles) made again by asking once more
where it was made.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, QMCSampler, RandomSampler
from optuna.trial import TrialState, create_trial

from sapflow.spec.parameter_values import present
from sapflow.spec.parameters import ParameterSpec
from sapflow.tuning.actions import Finished, Parameters, Report, Stopped
from sapflow.tuning.samplers.memory import Memory
from sapflow.tuning.samplers.sampler import News, Sampler, Suggestion, seed_of
from sapflow.tuning.samplers.tpe import History, HistoryTpe
from sapflow.tuning.settings import Objective
from sapflow.tuning.space import Space
from sapflow.tuning.trial import Trial

_STATE = "cma:optimizer"
_FORGOTTEN = (_STATE, "tpe:relative_params", "gp:relative_params", "fixed_params")
"""Attributes of trials that are not written down: they are made again, or are of no use once all values are there."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


def sampler_of(name: str, seed: int, number: int, history: History) -> BaseSampler:
    """A new sampler of Optuna for one suggestion. `history` is what follows from the study alone."""
    own = seed_of(seed, number)
    match name:
        case "Random":
            return RandomSampler(seed=own)
        case "TPE":
            return HistoryTpe(history, seed=own, constant_liar=True)
        case "CmaEs":
            sampler = CmaEsSampler(seed=own, warn_independent_sampling=False)
            sampler._search_space = history.common
            return sampler
        case "QMC":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)
        case "GP":
            return GPSampler(seed=own, deterministic_objective=False)
        case _:
            raise ValueError(f"there is no sampler {name}")


class OptunaSampler(Sampler):
    """One study of Optuna in memory."""

    def __init__(
        self,
        space: Space,
        name: str,
        seed: int,
        objectives: Sequence[Objective],
        initial: Sequence[Parameters],
        *,
        pausing: bool = False,
    ) -> None:
        """`pausing`: whether reports are those of trials that pause, and go on if they are among the best."""
        self._space, self._name, self._seed = space, name, seed
        self._objectives, self._initial = tuple(objectives), tuple(initial)
        self._counts_paused = pausing and name == "TPE" and len(objectives) == 1
        self._storage = Memory()
        self._study = optuna.create_study(
            storage=self._storage,
            directions=["maximize" if each.maximize else "minimize" for each in objectives],
            sampler=RandomSampler(seed=0),
        )
        self._id = self._storage.get_study_id_from_name(self._study.study_name)
        self._trials: list[int] = []
        """Optuna's id of each of our trials."""
        self._history = History(include_pruned=name == "TPE")

    def warm(self, results: Sequence[tuple[Parameters, Sequence[float]]]) -> None:
        for parameters, values in results:
            if all(map(math.isfinite, values)):
                self._add(parameters, TrialState.COMPLETE, values=list(values))

    def begin(self, trial: Trial, notes: Mapping[str, Any]) -> None:
        if trial.number < len(self._trials):
            return
        if notes.get("again") and self.ask(trial.number).parameters == trial.parameters:
            return
        del self._trials[trial.number :]
        for name, value in notes.get("study", {}).items():
            self._storage.set_study_system_attr(self._id, name, value)
        self._trials.append(
            self._add(trial.parameters, TrialState.RUNNING, system_attrs=dict(notes.get("trial", {})))
        )

    def _add(self, parameters: Parameters, state: TrialState, **more: Any) -> int:
        values = self._space.encoded(parameters)
        template = create_trial(
            state=state, params=values, distributions=self._space.distributions(values), **more
        )
        return self._storage.create_new_trial(self._id, template)

    def ask(self, number: int) -> Suggestion:
        assert number == len(self._trials), f"trial {number} is not the next one"
        study = self._study
        study.sampler = sampler_of(self._name, self._seed, number, self._history)
        before = self._storage.get_study_system_attrs(self._id)
        if number < len(self._initial):
            study.enqueue_trial(self._space.encoded(self._initial[number]))
        asked = study.ask()
        chosen: dict[str, Any] = {}
        for parameter in self._space.parameters:
            if present(parameter, chosen):
                value = self._suggested(asked, parameter)
                chosen[parameter.path] = self._space.decoded(parameter, value)
        ident = self._storage.get_trial_id_from_study_id_trial_number(self._id, asked.number)
        self._trials.append(ident)
        return Suggestion(chosen, self._notes(ident, before))

    def _suggested(self, asked: optuna.Trial, parameter: ParameterSpec) -> Any:
        match self._space.distribution(parameter):
            case FloatDistribution(low=low, high=high, log=log, step=step):
                return asked.suggest_float(parameter.path, low, high, log=log, step=step)
            case IntDistribution(low=low, high=high, log=log, step=step):
                return asked.suggest_int(parameter.path, low, high, log=log, step=step)
            case CategoricalDistribution(choices=choices):
                return asked.suggest_categorical(parameter.path, choices)
        raise AssertionError("unreachable")

    def _notes(self, ident: int, before: Mapping[str, Any]) -> dict[str, Any]:
        attributes = self._storage.get_trial(ident).system_attrs
        after = self._storage.get_study_system_attrs(self._id)
        notes: dict[str, Any] = {
            "trial": {name: each for name, each in attributes.items() if not name.startswith(_FORGOTTEN)},
            "study": {name: each for name, each in after.items() if before.get(name) != each},
            "again": any(name.startswith(_STATE) for name in attributes),
        }
        return {name: each for name, each in notes.items() if each}

    def tell(self, news: News) -> None:
        for trial, answer in news:
            if trial.number >= len(self._trials):
                continue
            ident = self._trials[trial.number]
            state = self._storage.get_trial(ident).state
            if state in (TrialState.COMPLETE, TrialState.FAIL):
                continue
            match answer:
                case Report() | Finished():
                    self._tell_values(ident, answer)
                case Stopped():
                    self._tell_stopped(ident)
                case _:
                    self._storage.set_trial_state_values(ident, TrialState.FAIL)
            if state == TrialState.PRUNED and self._storage.get_trial(ident).state == TrialState.FAIL:
                self._history.forget()

    def _tell_values(self, ident: int, answer: Report | Finished) -> None:
        values = [each.value(answer) for each in self._objectives]
        if len(values) == 1 and not math.isnan(values[0]):
            self._storage.set_trial_intermediate_value(ident, answer.at, values[0])
        if isinstance(answer, Finished):
            good = all(map(math.isfinite, values))
            state = TrialState.COMPLETE if good else TrialState.FAIL
            self._storage.set_trial_state_values(ident, state, values if good else None)
        elif self._counts_paused:
            self._tell_stopped(ident)

    def _tell_stopped(self, ident: int) -> None:
        reported = self._storage.get_trial(ident).intermediate_values
        last = reported[max(reported)] if reported else math.nan
        state = TrialState.PRUNED if math.isfinite(last) else TrialState.FAIL
        self._storage.set_trial_state_values(ident, state, [last] if math.isfinite(last) else None)
