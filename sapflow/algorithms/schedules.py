"""The learning rate as a function of the step: pure, so that any root at any time computes the same."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

ScheduleName = Literal["Constant", "Step", "Exponential", "Linear", "Cosine"]

NAMES: tuple[str, ...] = get_args(ScheduleName)
NEEDS_TOTAL: frozenset[str] = frozenset({"Linear", "Cosine"})
"""Schedules that are defined by how many steps the job has."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule; it begins after `warmup_steps` steps of linear warm-up from base/warmup_steps to base.

    Step multiplies by `gamma` every `step_size` steps, Exponential each step. Linear runs to `end_factor`
    and Cosine to `min_factor` of the base rate over the steps of the job that warm-up leaves.
    """

    name: ScheduleName = "Constant"
    step_size: int = 1
    gamma: float = 0.1
    end_factor: float = 0.0
    min_factor: float = 0.0
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"unknown schedule {self.name!r}: use one of {', '.join(NAMES)}")
        if self.step_size < 1:
            raise ValueError(f"step_size is {self.step_size}, it must be at least 1")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps is {self.warmup_steps}, it must not be negative")


def learning_rate(base: float, schedule: Schedule | None, step: int, total_steps: int | None) -> float:
    """The rate of the update number `step` (0-based). None is a constant rate.

    The formulas are those of torch.optim.lr_scheduler's StepLR, ExponentialLR, LinearLR (from factor 1) and
    CosineAnnealingLR with T_max = total_steps - warmup_steps. Past the end the last value holds.
    Raises ValueError where Linear or Cosine is not told `total_steps`.
    """
    if schedule is None:
        return base
    if step < schedule.warmup_steps:
        return base * (step + 1) / schedule.warmup_steps
    return base * _factor(schedule, step - schedule.warmup_steps, total_steps)


def _factor(schedule: Schedule, step: int, total_steps: int | None) -> float:
    match schedule.name:
        case "Constant":
            return 1.0
        case "Step":
            return schedule.gamma ** (step // schedule.step_size)
        case "Exponential":
            return schedule.gamma**step
    if total_steps is None:
        raise ValueError(f"a {schedule.name} schedule needs the number of steps of the job")
    progress = min(1.0, step / max(1, total_steps - schedule.warmup_steps))
    if schedule.name == "Linear":
        return 1.0 + (schedule.end_factor - 1.0) * progress
    low = schedule.min_factor
    return low + (1.0 - low) * (1.0 + math.cos(math.pi * progress)) / 2.0
