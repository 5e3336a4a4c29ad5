"""LAMB (You et al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020)."""

import math

import numpy as np

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.optimizers.rule import Float32, Rule, Update, add_scaled


def _lamb(settings: OptimizerSettings, learning_rate: float, step: int) -> Update:
    """Leaves u = m̂ / (√v̂ + ε) + λ p where the gradient was, with Adam's bias-corrected m̂ and v̂.

    `apply` then takes the step: p ← p − rate · (‖p‖ / ‖u‖) · u, with norms of each tensor by itself. Of the paper's
    algorithm 2 φ is the identity, and the ratio is 1 where either norm is 0.
    """
    decay, beta1, beta2 = settings.weight_decay, settings.beta1, settings.beta2
    epsilon = settings.resolved_epsilon
    correction, root_correction = 1.0 - beta1**step, math.sqrt(1.0 - beta2**step)

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        mean, square = state
        np.subtract(g, mean, out=t)
        t *= 1.0 - beta1
        mean += t
        square *= beta2
        g *= g
        add_scaled(square, g, 1.0 - beta2, t)
        np.sqrt(square, out=t)
        t /= root_correction
        t += epsilon
        np.divide(mean, correction, out=g)
        g /= t
        if decay:
            add_scaled(g, p, decay, t)

    return update


def _slots(settings: OptimizerSettings) -> tuple[str, ...]:
    return ("exp_avg", "exp_avg_sq")


RULES = {"LAMB": Rule(_lamb, _slots)}
