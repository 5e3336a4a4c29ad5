"""The record of a search's forecast, and its grade against what the search has taken.

jobs/<uid>/forecast.json    written once, before the first trial
"""

from typing import Any

from pydantic import Field

from sapflow.messages.message import Message
from sapflow.planning.grade import errors, in_outcome
from sapflow.planning.preparation import PreparationForecast
from sapflow.planning.spread import Spread as Spread
from sapflow.tuning.settings import Limits


class RehearsedCorner(Message):
    """The cheapest or the dearest trial, and what two of its steps have taken."""

    parameters: dict[str, Any]
    steps: int
    """Of the complete trial."""
    seconds_per_step: float
    dollars_per_step: float
    estimated_seconds_per_step: float
    """By the cost model alone."""
    begin_seconds: float
    """From the start of a trial to its first warm step, on warm functions."""
    resume_seconds: float
    pause_seconds: float
    trial_seconds: float
    """Of the complete trial, alone and without a pause."""
    trial_dollars: float


class CostGrowth(Message):
    """How much dearer one parameter alone makes a trial."""

    path: str
    cheapest: Any
    dearest: Any
    factor: float


class ForecastLimits(Message):
    """The limits that a forecast is for."""

    parallel_trials: int
    max_trials: int
    max_workers: int
    budget_usd: float | None = Field(None, alias="budgetUSD")
    deadline_seconds: int | None = None

    @classmethod
    def of(cls, limits: Limits, max_workers: int) -> "ForecastLimits":
        return cls(
            parallel_trials=limits.parallel_trials,
            max_trials=limits.max_trials,
            max_workers=max_workers,
            budget_usd=limits.budget_usd,
            deadline_seconds=limits.deadline_seconds,
        )


class SearchForecast(Message):
    """What a search is expected to take, without the rehearsal that it is from."""

    seconds: Spread
    """From its first trial to its end."""
    cost_usd: Spread = Field(alias="costUSD")
    trials: dict[str, Spread]
    """How many stand how at the end, by phase in lower case; `begun` is all of them."""
    ended_by: dict[str, float]
    """The share of the draws that end so."""
    draws: int
    played: int
    """Trials of a draw; where the search has more, the others are taken to go on like them."""
    calls: int
    """Calls that can be at work at once."""
    limits: ForecastLimits
    cheapest: RehearsedCorner
    dearest: RehearsedCorner
    growth: list[CostGrowth]
    refused: float = 0.0
    """The share of drawn sets of parameters with which a trial cannot begin; those that are left are counted."""
    refusal: str | None = None
    """What is wrong with one of them."""
    constants: str | None = None
    """Where the cost model's constants were measured, where not all was rehearsed."""
    seconds_before: float = 0.0
    """What the search had taken before its rehearsal, to prepare or to cut its data. No figure above contains it."""
    cost_usd_before: float = Field(0.0, alias="costUSDBefore")
    preparation: PreparationForecast | None = None
    """Of raw data that is yet to be prepared, which no figure above contains; only in a plan."""
    rehearsal_seconds: float = 0.0
    rehearsal_cost_usd: float = Field(0.0, alias="rehearsalCostUSD")


def grade(
    said: SearchForecast, *, seconds: float, dollars: float, ended_by: str, limits: ForecastLimits
) -> dict[str, Any]:
    """The forecast as an outcome has it, against the seconds and dollars of a search that has ended.

    The errors are relative to what was measured: +0.1 means that 10 % too much was forecast. There are none where other
    limits were forecast, or where a goal has ended the search, because nobody foresees that.
    """
    body = summary(said)
    if limits != said.limits or ended_by == "GoalReached":
        return body
    return body | errors(said.seconds, said.cost_usd, seconds, dollars)


def summary(said: SearchForecast) -> dict[str, Any]:
    """The forecast in the words of an outcome: its middle, and between what eight in ten draws lie."""
    return in_outcome(said.seconds, said.cost_usd)
