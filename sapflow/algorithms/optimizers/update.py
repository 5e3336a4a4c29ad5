"""The update of a vector: the registry of optimisers' rules, and the loop over ranges and blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.optimizers import adagrad, adam, lamb, lion, rmsprop, sgd
from sapflow.algorithms.optimizers.groups import Group, Grouping
from sapflow.algorithms.optimizers.norms import norm
from sapflow.algorithms.optimizers.rule import BLOCK, Float32, Rule, add_scaled

RULES: Mapping[str, Rule] = {
    **sgd.RULES,
    **adam.RULES,
    **adagrad.RULES,
    **rmsprop.RULES,
    **lion.RULES,
    **lamb.RULES,
}


def slots(settings: OptimizerSettings) -> tuple[str, ...]:
    """Names of the float32 state vectors, each as long as the parameters, in the order in which `apply` takes them."""
    return RULES[settings.name].slots(settings)


def initial(settings: OptimizerSettings, slot: str) -> float:
    """The value that fills a state vector before the first update."""
    return RULES[settings.name].initial(settings, slot)


def apply(
    settings: OptimizerSettings,
    *,
    params: Float32,
    grads: Float32,
    state: Sequence[Float32],
    learning_rate: float,
    step: int,
    grouping: Grouping | None = None,
) -> None:
    """Update `params` and `state`, both [n], in place; `grads` [n] is overwritten.

    `step` is the number of this update, from 1. `grouping` divides the vector into ranges with their own weight decay
    and learning rate; None means a single range with `settings`. The additional memory is one block, whatever n.
    Raises ValueError if vectors have wrong lengths or types, or the state is not this optimiser's.
    """
    names = slots(settings)
    if len(state) != len(names):
        raise ValueError(f"{settings.name} keeps {len(names)} state vectors {names}, {len(state)} were given")
    for label, vector in (("params", params), ("grads", grads), *zip(names, state, strict=True)):
        if vector.dtype != np.float32 or vector.shape != (params.size,):
            raise ValueError(f"{label} is {vector.dtype}{vector.shape}, not float32({params.size},)")
    if step < 1:
        raise ValueError(f"step is {step}, updates count from 1")
    if grouping is None:
        grouping = Grouping((Group(settings.weight_decay),), ((params.size, 0),) if params.size else ())
    if grouping.size != params.size:
        raise ValueError(
            f"the parameter ranges are of {grouping.size} elements, the vector has {params.size}"
        )
    rule = RULES[settings.name]
    updates = [
        rule.update(replace(settings, weight_decay=group.weight_decay), learning_rate * group.factor, step)
        for group in grouping.groups
    ]
    scratch = np.empty(min(BLOCK, params.size), np.float32)
    begin = 0
    # The caller has checked for NaN; a local step that overflows is detected by the next check.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for end, index in grouping.ranges:
            for start in range(begin, end, BLOCK):
                cut = slice(start, min(start + BLOCK, end))
                p = params[cut]
                updates[index](p, grads[cut], [vector[cut] for vector in state], scratch[: p.size])
            if settings.layerwise:
                rate = learning_rate * grouping.groups[index].factor
                _take_step(params[begin:end], grads[begin:end], rate, scratch)
            begin = end


def _take_step(params: Float32, update: Float32, learning_rate: float, scratch: Float32) -> None:
    """A layerwise optimiser's step in one tensor, as long as its parameters are: the trust ratio of LAMB."""
    ours, theirs = norm(params), norm(update)
    ratio = ours / theirs if ours > 0 and theirs > 0 else 1.0
    for start in range(0, params.size, BLOCK):
        p = params[start : start + BLOCK]
        add_scaled(p, update[start : start + BLOCK], -learning_rate * ratio, scratch[: p.size])
