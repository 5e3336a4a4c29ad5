"""Adam and AdamW: torch.optim's."""

import math

import numpy as np

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.optimizers.rule import Float32, Rule, Update, add_scaled


def _adam(settings: OptimizerSettings, learning_rate: float, step: int) -> Update:
    decay, beta1, beta2 = settings.weight_decay, settings.beta1, settings.beta2
    decoupled = settings.name == "AdamW"
    epsilon = settings.resolved_epsilon
    step_size = learning_rate / (1.0 - beta1**step)
    root_correction = math.sqrt(1.0 - beta2**step)

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        mean, square = state
        if decay and decoupled:
            p *= 1.0 - learning_rate * decay
        elif decay:
            add_scaled(g, p, decay, t)
        np.subtract(g, mean, out=t)
        t *= 1.0 - beta1
        mean += t
        square *= beta2
        g *= g
        add_scaled(square, g, 1.0 - beta2, t)
        np.sqrt(square, out=t)
        t /= root_correction
        t += epsilon
        np.divide(mean, t, out=t)
        t *= step_size
        p -= t

    return update


def _slots(settings: OptimizerSettings) -> tuple[str, ...]:
    return ("exp_avg", "exp_avg_sq")


RULES = {"Adam": Rule(_adam, _slots), "AdamW": Rule(_adam, _slots)}
