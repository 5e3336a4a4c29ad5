"""RMSprop, plain, centred or with a momentum: torch.optim.RMSprop."""

import numpy as np

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.optimizers.rule import Float32, Rule, Update, add_scaled


def _rmsprop(settings: OptimizerSettings, learning_rate: float, step: int) -> Update:
    """v ← α v + (1 − α) g²; p ← p − rate · g / (√v + ε), with v less the square of g's own mean where centred."""
    decay, alpha, epsilon = settings.weight_decay, settings.alpha, settings.resolved_epsilon
    names = _slots(settings)

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        vectors = dict(zip(names, state, strict=True))
        square, mean, buffer = vectors["square_avg"], vectors.get("grad_avg"), vectors.get("momentum_buffer")
        if decay:
            add_scaled(g, p, decay, t)
        square *= alpha
        np.multiply(g, g, out=t)
        t *= 1.0 - alpha
        square += t
        if mean is None:
            np.sqrt(square, out=t)
        else:
            np.subtract(g, mean, out=t)
            t *= 1.0 - alpha
            mean += t
            np.multiply(mean, mean, out=t)
            np.subtract(square, t, out=t)
            np.sqrt(t, out=t)
        t += epsilon
        g /= t
        if buffer is None:
            add_scaled(p, g, -learning_rate, t)
        else:
            buffer *= settings.momentum
            buffer += g
            add_scaled(p, buffer, -learning_rate, t)

    return update


def _slots(settings: OptimizerSettings) -> tuple[str, ...]:
    centered = ("grad_avg",) if settings.centered else ()
    return ("square_avg", *centered, *(("momentum_buffer",) if settings.momentum > 0 else ()))


RULES = {"RMSprop": Rule(_rmsprop, _slots)}
