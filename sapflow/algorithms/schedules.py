"""The learning rate as a function of the step: pure, so that any root at any time computes the same."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

ScheduleName = Literal["Constant", "Step", "Exponential", "Linear", "Cosine", "OneCycle", "Plateau"]
Metric = Literal["TrainingLoss", "ValidationLoss"]

NAMES: tuple[str, ...] = get_args(ScheduleName)
TAKES: Mapping[str, tuple[str, ...]] = {
    "Constant": (),
    "Step": ("step_size", "step_epochs", "gamma"),
    "Exponential": ("gamma",),
    "Linear": ("end_factor",),
    "Cosine": ("min_factor",),
    "OneCycle": ("pct_start", "div_factor", "final_div_factor"),
    "Plateau": ("step_size", "step_epochs", "min_factor", "metric", "factor", "patience", "threshold"),
}
"""What each schedule is told beside the warm-up."""


def takers(field: str) -> tuple[str, ...]:
    """The schedules that take a field, in the order of `NAMES`."""
    return tuple(name for name in NAMES if field in TAKES[name])


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule; it begins after `warmup_steps` steps of linear warm-up from base/warmup_steps to base.

    Step multiplies by `gamma` every `step_size` steps, Exponential each step. Linear runs to `end_factor`
    and Cosine to `min_factor` of the base rate over the steps of the job that warm-up leaves. OneCycle climbs from
    1/`div_factor` of the base rate to all of it in the first `pct_start` of the job and ends at
    1/(`div_factor` · `final_div_factor`) of it. Plateau follows a loss: see `plateau`.
    """

    name: ScheduleName = "Constant"
    step_size: int = 1
    gamma: float = 0.1
    end_factor: float = 0.0
    min_factor: float = 0.0
    warmup_steps: int = 0
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    metric: Metric = "TrainingLoss"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"unknown schedule {self.name!r}: use one of {', '.join(NAMES)}")
        if self.step_size < 1:
            raise ValueError(f"step_size is {self.step_size}, it must be at least 1")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}, it must not be negative")
        if self.name == "OneCycle" and self.warmup_steps:
            raise ValueError("OneCycle has a warm-up of its own: warmup_steps must be 0")


def learning_rate(
    base: float, schedule: Schedule | None, step: int, total_steps: int | None, plateau: float = 1.0
) -> float:
    """The rate of the update number `step` (0-based). None is a constant rate.

    The formulas are those of torch.optim.lr_scheduler's StepLR, ExponentialLR, LinearLR (from factor 1),
    CosineAnnealingLR with T_max = total_steps - warmup_steps, and OneCycleLR with its cosine form, whose cycle of the
    momentum is left out. Past the end the last value holds. `plateau` is the factor that Plateau has come to.
    Raises ValueError where Linear, Cosine or OneCycle is not told `total_steps`.
    """
    if schedule is None:
        return base
    if step < schedule.warmup_steps:
        return base * (step + 1) / schedule.warmup_steps * plateau
    return base * _factor(schedule, step - schedule.warmup_steps, total_steps) * plateau


def _factor(schedule: Schedule, step: int, total_steps: int | None) -> float:
    match schedule.name:
        case "Constant" | "Plateau":
            return 1.0
        case "Step":
            return schedule.gamma ** (step // schedule.step_size)
        case "Exponential":
            return schedule.gamma**step
    if total_steps is None:
        raise ValueError(f"a {schedule.name} schedule needs the number of steps of the job")
    if schedule.name == "OneCycle":
        return _one_cycle(schedule, step, total_steps)
    progress = min(1.0, step / max(1, total_steps - schedule.warmup_steps))
    if schedule.name == "Linear":
        return 1.0 + (schedule.end_factor - 1.0) * progress
    return _cosine(1.0, schedule.min_factor, progress)


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * progress)) / 2.0


def _one_cycle(schedule: Schedule, step: int, total_steps: int) -> float:
    low = 1.0 / schedule.div_factor
    # Both ends are the numbers of steps, as in torch, where the highest rate need not fall on a whole one.
    peak, last = schedule.pct_start * total_steps - 1.0, total_steps - 1.0
    if step <= peak:
        return _cosine(low, 1.0, step / peak if peak > 0 else 1.0)
    return _cosine(
        1.0, low / schedule.final_div_factor, min(1.0, (step - peak) / (last - peak) if last > peak else 1.0)
    )
