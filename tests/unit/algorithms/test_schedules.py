from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from sapflow.algorithms.schedules import NAMES, Schedule, learning_rate

BASE, STEPS = 0.1, 40


def torch_rates(make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
    scheduler = make(optimizer)
    rates = []
    for _ in range(STEPS):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (Schedule("Step", step_size=7, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 7, gamma=0.5)),
        (Schedule("Exponential", gamma=0.9), lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
        (
            Schedule("Linear", end_factor=0.25),
            lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.25, total_iters=STEPS),
        ),
        (
            Schedule("Cosine", min_factor=0.1),
            lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1 * BASE),
        ),
        (
            Schedule("OneCycle"),
            lambda o: lr_scheduler.OneCycleLR(o, BASE, total_steps=STEPS, cycle_momentum=False),
        ),
        (
            Schedule("OneCycle", pct_start=0.11, div_factor=4, final_div_factor=7),
            lambda o: lr_scheduler.OneCycleLR(
                o,
                BASE,
                total_steps=STEPS,
                pct_start=0.11,
                div_factor=4,
                final_div_factor=7,
                cycle_momentum=False,
            ),
        ),
        (
            Schedule("OneCycle", pct_start=0),
            lambda o: lr_scheduler.OneCycleLR(
                o, BASE, total_steps=STEPS, pct_start=0.0, cycle_momentum=False
            ),
        ),
        (
            Schedule("OneCycle", pct_start=0.99),
            lambda o: lr_scheduler.OneCycleLR(
                o, BASE, total_steps=STEPS, pct_start=0.99, cycle_momentum=False
            ),
        ),
    ],
    ids=["Step", "Exponential", "Linear", "Cosine", "OneCycle", "OneCycle-given", "falling", "climbing"],
)
def test_rates_equal_torch_s_schedulers(
    schedule: Schedule, make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]
) -> None:
    ours = [learning_rate(BASE, schedule, step, STEPS) for step in range(STEPS)]
    assert ours == pytest.approx(torch_rates(make), rel=1e-9)


def test_without_a_schedule_the_rate_is_constant() -> None:
    assert learning_rate(BASE, None, 17, None) == BASE
    assert learning_rate(BASE, Schedule("Constant"), 17, None) == BASE


@pytest.mark.parametrize("name", [name for name in NAMES if name != "OneCycle"])
def test_warm_up_climbs_evenly_to_the_base_rate_from_which_the_schedule_starts(name: str) -> None:
    schedule = Schedule(name, gamma=0.5, warmup_steps=4)  # type: ignore[arg-type]
    rates = [learning_rate(1.0, schedule, step, STEPS) for step in range(5)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_cosine_with_warm_up_ends_with_the_job_and_stays_there() -> None:
    schedule = Schedule("Cosine", min_factor=0.01, warmup_steps=10)
    assert learning_rate(BASE, schedule, STEPS, STEPS) == pytest.approx(0.01 * BASE)
    assert learning_rate(BASE, schedule, STEPS + 5, STEPS) == pytest.approx(0.01 * BASE)


@pytest.mark.parametrize("total", [1, 2, 3])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.5, 1.0])
def test_the_shortest_cycles_have_rates_too(total: int, part: float) -> None:
    schedule = Schedule("OneCycle", pct_start=part)
    rates = [learning_rate(BASE, schedule, step, total) for step in range(total + 2)]
    assert all(0 < rate <= BASE for rate in rates)
    assert rates[-1] == rates[-2]


@pytest.mark.parametrize("name", ["Linear", "Cosine", "OneCycle"])
def test_a_schedule_over_the_whole_job_must_know_its_length(name: str) -> None:
    with pytest.raises(ValueError, match="number of steps"):
        learning_rate(BASE, Schedule(name), 0, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "Cosinus"},
        {"name": "Step", "step_size": 0},
        {"name": "Step", "warmup_steps": -1},
        {"name": "OneCycle", "warmup_steps": 1},
    ],
)
def test_schedules_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Schedule(**wrong)  # type: ignore[arg-type]


@given(st.sampled_from(NAMES), st.integers(0, 200), st.integers(1, 100), st.integers(0, 120))
def test_rates_stay_between_nothing_and_the_base(name: str, step: int, total: int, warmup: int) -> None:
    steps = 0 if name == "OneCycle" else warmup
    schedule = Schedule(name, gamma=0.9, warmup_steps=steps)  # type: ignore[arg-type]
    assert 0 <= learning_rate(BASE, schedule, step, total) <= BASE * (1 + 1e-12)
