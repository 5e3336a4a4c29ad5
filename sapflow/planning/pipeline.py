"""What the stages of a pipeline are expected to take, and what they have taken. Pure.

pipelines/<uid>/forecast.json    written once, before the first stage
pipelines/<uid>/runs/<k>.json    what the k-th run of it has taken, by stage
"""

import math
from collections.abc import Sequence
from random import Random
from typing import Any, Literal

from pydantic import Field

from sapflow.messages.message import Message
from sapflow.planning.spread import Spread

DRAWS = 400
UNCERTAINTY = 0.2
"""Standard deviation, as a logarithm, of how much slower something is than in its rehearsal."""
StageKind = Literal["prepare", "tune", "train", "serve"]


class StageForecast(Message):
    """What a stage is expected to take."""

    document: str
    """The name of the search or the job that it belongs to."""
    stage: StageKind
    seconds: Spread
    cost_usd: Spread = Field(alias="costUSD")


class PipelineForecast(Message):
    """What a pipeline is expected to take, by stage in their order, and in all."""

    stages: list[StageForecast]
    seconds: Spread
    cost_usd: Spread = Field(alias="costUSD")
    rehearsal_seconds: float


class StageTaken(Message):
    """What a stage has taken in one run of a pipeline."""

    document: str
    stage: StageKind
    seconds: float
    cost_usd: float | None = Field(None, alias="costUSD")
    """In all runs so far; None where it is not known apart."""


class RunTaken(Message):
    """What one run of a pipeline has taken."""

    stages: list[StageTaken]


def beside(figure: Spread, measured: float, seed: str) -> Spread:
    """A figure with what a rehearsal has measured once and the run does again, which may be slower or faster then."""
    random = Random(seed)
    return Spread.of([
        figure.at(random.random()) + measured * math.exp(random.gauss(0, UNCERTAINTY)) for _ in range(DRAWS)
    ])  # fmt: skip


def in_all(stages: Sequence[StageForecast], rehearsal_seconds: float) -> PipelineForecast:
    """The sum of stages that do not depend on each other."""
    random = Random("pipeline")
    drawn = [[random.random() for _ in stages] for _ in range(DRAWS)]

    def total(figures: Sequence[Spread]) -> Spread:
        sums = [
            sum(figure.at(share) for figure, share in zip(figures, shares, strict=True)) for shares in drawn
        ]
        return Spread.of(sums)

    return PipelineForecast(
        stages=list(stages),
        seconds=total([each.seconds for each in stages]),
        cost_usd=total([each.cost_usd for each in stages]),
        rehearsal_seconds=rehearsal_seconds,
    )


def graded(said: PipelineForecast, runs: Sequence[RunTaken]) -> list[dict[str, Any]]:
    """Each stage's forecast beside what it has taken in all runs together.

    `secondsError` is relative to what was measured: +0.1 means that 10 % too much was forecast. A stage that no run has
    worked on has a forecast alone.
    """
    return [_graded(each, runs) for each in said.stages]


def _graded(said: StageForecast, runs: Sequence[RunTaken]) -> dict[str, Any]:
    body = said.body()
    taken = [
        each
        for run in runs
        for each in run.stages
        if (each.document, each.stage) == (said.document, said.stage)
    ]
    seconds = sum(each.seconds for each in taken)
    if seconds <= 0:
        return body
    measured: dict[str, Any] = {
        "seconds": seconds,
        "secondsError": said.seconds.p50 / seconds - 1,
        "secondsWithin": said.seconds.holds(seconds),
    }
    spent = [each.cost_usd for each in taken if each.cost_usd]
    if spent:
        measured |= {
            "costUSD": spent[-1],
            "costError": said.cost_usd.p50 / spent[-1] - 1,
            "costWithin": said.cost_usd.holds(spent[-1]),
        }
    return {**body, "taken": measured}
