"""How far a search is: its running trials, its best ones, and counts of all. It grows with neither."""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sapflow.spec.tuning_job import TuningJob
from sapflow.tuning.actions import Action, Advance, Event, Failed, Finished, Fork, Report, Stopped
from sapflow.tuning.runner import TuningObserver
from sapflow.tuning.trial import Trial

State = Literal["Running", "Paused", "Finished", "Failed", "Stopped"]
TOP = 10
"""Trials that are remembered as the best."""


@dataclass(frozen=True, slots=True)
class TrialState:
    """A trial as people see it."""

    number: int
    state: State
    parameters: Mapping[str, Any]
    to: int
    """Units that it is trained to."""
    at: int = 0
    """Units that it has done."""
    value: float | None = None
    """The objective, as it was last evaluated."""
    seconds: float = 0.0
    dollars: float = 0.0
    reason: str = ""
    """Why it failed."""

    def to_json(self) -> dict[str, Any]:
        """The fields with the names of the outcome and of JSON lines."""
        body = {
            "trial": self.number, "state": self.state, "parameters": dict(self.parameters), "at": self.at,
            "objective": self.value, "seconds": self.seconds, "costUSD": self.dollars, "reason": self.reason or None,
        }  # fmt: skip
        return {name: value for name, value in body.items() if value is not None}


class TuningProgress(TuningObserver):
    """Takes in what a search does."""

    def __init__(self, job: TuningJob) -> None:
        self.metric = job.spec.objective.metric
        self.maximizes = job.spec.objective.direction == "Maximize"
        self.length = job.spec.length
        self.most = job.spec.max_trials
        """Trials in all; None where the search's method alone knows."""
        self.under_way: dict[int, TrialState] = {}
        """Trials that are at work, by number."""
        self.paused: dict[int, TrialState] = {}
        self.counts: dict[State, int] = {"Finished": 0, "Failed": 0, "Stopped": 0}
        self.begun = 0
        self.last: TrialState | None = None
        """The trial that has ended last."""
        self.common = 0.0
        """Dollars of calls that are no trial's."""
        self._trials_dollars = self._ended_dollars = 0.0
        self._top: list[tuple[float, int, TrialState]] = []

    @property
    def dollars(self) -> float:
        """What the search has used, as far as its trials have told."""
        return self._trials_dollars + self.common

    @property
    def top(self) -> list[TrialState]:
        """The best trials that have a value, best first, as the search's result would count them: finished, paused and
        running ones, of which each has a model that can be had. One that was stopped or has failed is none of them."""
        live = (each for each in (*self.paused.values(), *self.under_way.values()) if self._known(each))
        known = [*(each for _, _, each in self._top), *live]
        return heapq.nsmallest(TOP, known, key=lambda each: (-self._goodness(each), each.number))

    @property
    def best(self) -> TrialState | None:
        top = self.top
        return top[0] if top else None

    @property
    def numbers(self) -> dict[str, int]:
        """How many trials there are in all, and in each state, by its name in lower case."""
        found = {state.lower(): number for state, number in self.counts.items()}
        found |= {"begun": self.begun, "running": len(self.under_way), "paused": len(self.paused)}
        return found if self.most is None else {**found, "most": self.most}

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Trials that no call is at work for: those that have ended, and paused ones, of which most never go on."""
        return self.ended + len(self.paused)

    def opened(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self.begun = max(self.begun, trial.number + 1)
            value = trial.values[0] if trial.values else None
            known = TrialState(
                trial.number,
                "Paused",
                trial.parameters,
                trial.to,
                trial.at,
                value,
                trial.seconds,
                trial.dollars,
            )
            match trial.phase:
                case "Finished" | "Failed" | "Stopped":
                    reason = trial.reason if trial.phase == "Failed" else ""
                    self._end(replace(known, state=trial.phase, reason=reason))
                case "Paused":
                    self.paused[trial.number] = known
                case _:
                    self.under_way[trial.number] = replace(known, state="Running")
        self._count_dollars()

    def began(self, action: Action) -> None:
        match action:
            case Advance():
                known = self.paused.pop(action.trial, None) or self.under_way.get(action.trial)
                if known is None:
                    known = TrialState(action.trial, "Running", action.parameters, action.to)
                self.under_way[action.trial] = replace(known, state="Running", to=action.to)
                self.begun = max(self.begun, action.trial + 1)
            case Fork():
                self.paused[action.trial] = TrialState(
                    action.trial, "Paused", action.parameters, action.at, action.at
                )
            case _:
                pass

    def told(self, event: Event) -> None:
        before = self._taken(event.trial)
        match event:
            case Report():
                self.paused[event.trial] = self._at(before, event, "Paused", event.at)
            case Finished():
                self._end(self._at(before, event, "Finished", event.at))
            case Failed():
                failed = replace(before, seconds=event.seconds, dollars=event.dollars)
                self._end(replace(failed, state="Failed", reason=event.reason, value=None))
            case Stopped():
                self._end(replace(before, state="Stopped"))
            case _:
                self.under_way[event.trial] = before
        self._count_dollars()

    def interrupted(self) -> None:
        """Take in that nothing is at work any more; what was, goes on with another run of the search."""
        self.paused |= {number: replace(each, state="Paused") for number, each in self.under_way.items()}
        self.under_way.clear()

    def _count_dollars(self) -> None:
        live = (*self.under_way.values(), *self.paused.values())
        self._trials_dollars = self._ended_dollars + sum(each.dollars for each in live)

    def _taken(self, trial: int) -> TrialState:
        found = self.under_way.pop(trial, None) or self.paused.pop(trial, None)
        return found or TrialState(trial, "Running", {}, 0)

    def _at(self, before: TrialState, event: Report | Finished, state: State, at: int) -> TrialState:
        measured = {**event.values, "seconds": event.seconds, "dollars": event.dollars}
        value = measured.get(self.metric)
        return replace(before, state=state, at=at, value=value, seconds=event.seconds, dollars=event.dollars)

    def _end(self, trial: TrialState) -> None:
        self.last = trial
        self.counts[trial.state] += 1
        self._ended_dollars += trial.dollars
        if trial.state == "Finished" and self._known(trial):
            heapq.heappush(self._top, (self._goodness(trial), -trial.number, trial))
            if len(self._top) > TOP:
                heapq.heappop(self._top)

    @staticmethod
    def _known(trial: TrialState) -> bool:
        return trial.value is not None and math.isfinite(trial.value)

    def _goodness(self, trial: TrialState) -> float:
        value = trial.value or 0.0
        return value if self.maximizes else -value
