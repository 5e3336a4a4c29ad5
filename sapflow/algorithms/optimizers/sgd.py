"""Stochastic gradient descent, plain or with a momentum: torch.optim.SGD."""

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.optimizers.rule import Float32, Rule, Update, add_scaled


def _sgd(settings: OptimizerSettings, learning_rate: float, step: int) -> Update:
    decay = settings.weight_decay

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        if decay:
            add_scaled(g, p, decay, t)
        add_scaled(p, g, -learning_rate, t)

    return update


def _momentum(settings: OptimizerSettings, learning_rate: float, step: int) -> Update:
    decay, momentum = settings.weight_decay, settings.momentum
    nesterov = settings.name == "Nesterov"
    # torch starts the buffer as a copy of the first gradient, undampened.
    fresh = 1.0 if step == 1 else 1.0 - settings.dampening

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        (buffer,) = state
        if decay:
            add_scaled(g, p, decay, t)
        buffer *= momentum
        if fresh == 1.0:
            buffer += g
        else:
            add_scaled(buffer, g, fresh, t)
        if nesterov:
            add_scaled(g, buffer, momentum, t)
            add_scaled(p, g, -learning_rate, t)
        else:
            add_scaled(p, buffer, -learning_rate, t)

    return update


def _slots(settings: OptimizerSettings) -> tuple[str, ...]:
    return ("momentum",)


RULES = {"SGD": Rule(_sgd), "Momentum": Rule(_momentum, _slots), "Nesterov": Rule(_momentum, _slots)}
