"""What a search is about, as values: what never changes, and the limits that a user may raise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.spec.parameter_values import grid_size
from sapflow.spec.parameters import ParameterSpec
from sapflow.spec.tuning_job import MAX_TRIALS, MEASURED, ObjectiveSpec, PruneSpec, TuningJob
from sapflow.tuning.actions import Finished, Parameters, Report

LENGTHS = ("spec.algorithm.epochs", "spec.algorithm.steps")


@dataclass(frozen=True, slots=True)
class Objective:
    """A value that is sought."""

    metric: str
    maximize: bool
    goal: float | None = None

    @classmethod
    def of(cls, spec: ObjectiveSpec) -> "Objective":
        return cls(spec.metric, spec.direction == "Maximize", spec.goal)

    def value(self, event: Report | Finished) -> float:
        """The objective's value in a report; NaN if the report does not have it."""
        if self.metric in MEASURED:
            return event.dollars if self.metric == "dollars" else event.seconds
        return float(event.values.get(self.metric, math.nan))

    def score(self, value: float) -> float:
        """The value as one of which more is better; one that is not finite is the worst."""
        if not math.isfinite(value):
            return -math.inf
        return value if self.maximize else -value

    def reached(self, value: float) -> bool:
        """Whether the value is as good as the goal, if there is one."""
        return self.goal is not None and self.score(value) >= self.score(self.goal)


@dataclass(frozen=True, slots=True)
class Settings:
    """What never changes while a search lives."""

    parameters: tuple[ParameterSpec, ...]
    objectives: tuple[Objective, ...]
    sampler: str
    entrypoint: str | None
    args: Mapping[str, Any]
    seed: int
    prune: PruneSpec
    in_order: bool
    length: int
    """Units that a trial of the template is trained for."""
    initial: tuple[Parameters, ...]

    @classmethod
    def of(cls, job: TuningJob) -> "Settings":
        spec = job.spec
        return cls(
            tuple(spec.parameters),
            tuple(Objective.of(each) for each in spec.objectives),
            spec.search.sampler,
            spec.search.entrypoint,
            spec.search.args or {},
            spec.search.seed,
            spec.prune,
            spec.in_order,
            spec.length,
            tuple(spec.initial or ()),
        )

    @property
    def pausing(self) -> bool:
        """Whether trials are paused where they are judged, and only the best of them ever go on."""
        return self.prune.name in ("ASHA", "Hyperband")

    def missing(self, event: Report | Finished) -> str:
        """An objective that a report does not have; '' if it has all."""
        names = [each.metric for each in self.objectives if each.metric not in (*MEASURED, *event.values)]
        return names[0] if names else ""

    def length_of(self, parameters: Parameters) -> int:
        """Units that a trial with these parameters is trained for."""
        for path in LENGTHS:
            if path in parameters:
                return int(parameters[path])
        return self.length


@dataclass(frozen=True, slots=True)
class Limits:
    """What a user may raise, after the search's end too. The log records every change, so that a restart decides as
    the first run did."""

    parallel_trials: int
    max_trials: int
    max_failed: int
    budget_usd: float | None = None
    deadline_seconds: int | None = None

    @classmethod
    def of(cls, job: TuningJob) -> "Limits":
        """The limits that a job asks for."""
        spec = job.spec
        trials = spec.max_trials or MAX_TRIALS
        if spec.search.sampler == "Grid":
            trials = min(trials, grid_size(spec.parameters))
        failed = spec.max_failed_trials
        return cls(
            spec.trials_at_once,
            trials,
            max(3, trials // 10) if failed is None else failed,
            spec.budget_usd,
            spec.deadline_seconds,
        )

    def reopens(self, reason: str, before: "Limits") -> bool:
        """Whether a search that has ended for a reason goes on with these limits in place of those before."""
        match reason:
            case "Completed":
                return self.max_trials > before.max_trials
            case "TooManyFailed":
                return self.max_failed > before.max_failed
            case "BudgetExceeded":
                return _more(self.budget_usd, before.budget_usd)
            case "DeadlineExceeded":
                return _more(self.deadline_seconds, before.deadline_seconds)
            case _:
                return False


def _more(now: float | None, before: float | None) -> bool:
    return before is not None and (now is None or now > before)
