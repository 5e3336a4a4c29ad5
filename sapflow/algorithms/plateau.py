"""The schedule Plateau, which lowers the learning rate when a loss has stopped falling. Pure.

Its state is part of commits and depends only on committed losses. So a restarted driver continues with the same rates.
"""

import math

from sapflow.algorithms.schedules import Schedule
from sapflow.records.plateau import PlateauState


def after_loss(schedule: Schedule, state: PlateauState, loss: float) -> PlateauState:
    """The state after another loss, as in torch.optim.lr_scheduler.ReduceLROnPlateau (mode min, relative).

    A loss is better if it is below (1 − threshold) × the best one. A loss that is not finite is never better.
    """
    best = math.inf if state.best is None else state.best
    if loss < best * (1.0 - schedule.threshold):
        return PlateauState(factor=state.factor, best=loss)
    if state.bad < schedule.patience:
        return PlateauState(factor=state.factor, best=state.best, bad=state.bad + 1)
    return PlateauState(factor=max(state.factor * schedule.factor, schedule.min_factor), best=state.best)


def after_step(
    schedule: Schedule, state: PlateauState, *, mean: float, samples: int, updates: int
) -> PlateauState:
    """The state after a step with `updates` updates whose training loss was `mean` over `samples`.

    After every `schedule.step_size` updates, the mean over their samples is compared.
    """
    total = state.model_copy(
        update={
            "loss": state.loss + mean * samples,
            "samples": state.samples + samples,
            "updates": state.updates + updates,
        }
    )
    if total.updates < schedule.step_size:
        return total
    return after_loss(schedule, total, total.loss / total.samples)
