import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sapflow.algorithms.plateau import after_loss, after_step
from sapflow.algorithms.schedules import Schedule, learning_rate
from sapflow.records.plateau import PlateauState


@given(
    losses=st.lists(st.floats(0.01, 10), min_size=1, max_size=60),
    factor=st.sampled_from([0.1, 0.5]),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 1e-4, 0.1]),
    low=st.sampled_from([0.0, 0.05]),
)
def test_rates_are_those_of_torch_s_reduce_on_plateau(
    losses: list[float], factor: float, patience: int, threshold: float, low: float
) -> None:
    schedule = Schedule("Plateau", factor=factor, patience=patience, threshold=threshold, min_factor=low)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=factor, patience=patience, threshold=threshold, min_lr=low, eps=0.0
    )
    state = PlateauState()
    for step, loss in enumerate(losses):
        theirs.step(loss)
        state = after_loss(schedule, state, loss)
        ours = learning_rate(1.0, schedule, step, None, state.factor)
        assert ours == pytest.approx(float(optimizer.param_groups[0]["lr"]), rel=1e-12)


def test_a_loss_that_is_not_finite_is_never_better() -> None:
    schedule = Schedule("Plateau", patience=1)
    state = PlateauState()
    for bad, factor in ((1, 1.0), (0, 0.1), (1, 0.1)):
        state = after_loss(schedule, state, math.nan)
        assert state.best is None
        assert state.bad == bad
        assert state.factor == pytest.approx(factor)


def test_training_losses_are_compared_as_the_mean_over_the_samples_of_so_many_updates() -> None:
    schedule = Schedule("Plateau", step_size=4, patience=0, factor=0.5)
    state = PlateauState()
    for mean, samples, updates in ((2.0, 30, 2), (1.0, 10, 1)):
        state = after_step(schedule, state, mean=mean, samples=samples, updates=updates)
        assert state.best is None
    state = after_step(schedule, state, mean=4.0, samples=10, updates=1)
    assert state == PlateauState(best=(2.0 * 30 + 1.0 * 10 + 4.0 * 10) / 50)
    worse = after_step(schedule, state, mean=3.0, samples=5, updates=5)
    assert (worse.factor, worse.best, worse.updates) == (0.5, state.best, 0)


def test_a_warm_up_is_lowered_too() -> None:
    schedule = Schedule("Plateau", warmup_steps=4)
    assert learning_rate(1.0, schedule, 1, None, 0.5) == pytest.approx(0.25)


def test_the_state_is_read_back_as_it_was_written() -> None:
    state = PlateauState(factor=0.1 + 0.2, best=1 / 3, bad=2, loss=1e-17, samples=7, updates=3)
    assert PlateauState.model_validate_json(state.model_dump_json(by_alias=True)) == state
