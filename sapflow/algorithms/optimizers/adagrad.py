"""Adagrad: torch.optim's."""

import numpy as np

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.optimizers.rule import Float32, Rule, Update, add_scaled


def _adagrad(settings: OptimizerSettings, learning_rate: float, step: int) -> Update:
    decay, epsilon = settings.weight_decay, settings.resolved_epsilon

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        (total,) = state
        if decay:
            add_scaled(g, p, decay, t)
        np.multiply(g, g, out=t)
        total += t
        np.sqrt(total, out=t)
        t += epsilon
        g /= t
        add_scaled(p, g, -learning_rate, t)

    return update


def _slots(settings: OptimizerSettings) -> tuple[str, ...]:
    return ("sum",)


def _initial(settings: OptimizerSettings, slot: str) -> float:
    return settings.initial_accumulator


RULES = {"Adagrad": Rule(_adagrad, _slots, _initial)}
