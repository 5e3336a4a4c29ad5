"""The schedule Plateau: the learning rate is lowered where a loss has stopped falling. Pure.

Its state is a value that commits carry, computed from committed losses only, so a driver that starts again goes on with
the same rates.
"""

import math

from sapflow.algorithms.schedules import Schedule
from sapflow.records.plateau import PlateauState


def after_loss(schedule: Schedule, state: PlateauState, loss: float) -> PlateauState:
    """The state after one more loss, as torch.optim.lr_scheduler.ReduceLROnPlateau's (mode min, relative).

    A loss is better where it is below (1 − threshold) of the best; one that is not finite never is.
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
    """The state after a step of so many updates whose training loss was `mean` over `samples`.

    Once `schedule.step_size` updates have come, their mean over samples is compared.
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
