"""Lion (Chen et al., Symbolic Discovery of Optimization Algorithms, 2023)."""

import numpy as np

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.optimizers.rule import Float32, Rule, Update


def _lion(settings: OptimizerSettings, learning_rate: float, step: int) -> Update:
    """p ← (1 − rate · λ) p − rate · sign(β₁ m + (1 − β₁) g); m ← β₂ m + (1 − β₂) g.

    Both sums are computed as one vector plus a part of the difference, which needs no second block of scratch.
    """
    decay, beta1, beta2 = settings.weight_decay, settings.beta1, settings.beta2

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        (mean,) = state
        if decay:
            p *= 1.0 - learning_rate * decay
        np.subtract(mean, g, out=t)
        t *= beta1
        t += g
        np.sign(t, out=t)
        t *= learning_rate
        p -= t
        g -= mean
        g *= 1.0 - beta2
        mean += g

    return update


def _slots(settings: OptimizerSettings) -> tuple[str, ...]:
    return ("exp_avg",)


RULES = {"Lion": Rule(_lion, _slots)}
