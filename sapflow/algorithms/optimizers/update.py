"""The update of a vector: the registry of optimisers' rules, and the loop over ranges and blocks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.optimizers import adagrad, adam, lamb, lion, rmsprop, sgd
from sapflow.algorithms.optimizers.groups import Group, Grouping
from sapflow.algorithms.optimizers.norms import norm
from sapflow.algorithms.optimizers.rule import BLOCK, Float32, Rule, Update, add_scaled

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
    numbers: Sequence[tuple[int, int]] | None = None,
) -> bool:
    """Update `params` and `state`, both [n], in place; `grads` [n] is overwritten.

    `step` is the number of this update, from 1. `grouping` divides the vector into ranges with their own weight decay
    and learning rate; None means a single range with `settings`. `numbers` are (stop, number) of consecutive ranges
    with a number of their own in place of `step`; a range with the number 0 has no gradient and is left as it is. The
    additional memory is two blocks, whatever n.
    Returns whether everything that was updated is finite. Raises ValueError if vectors have wrong lengths or types, or
    the state is not this optimiser's.
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
    if numbers is not None and params.size and (not numbers or numbers[-1][0] != params.size):
        raise ValueError(f"the ranges of update numbers do not end at {params.size}")
    updates: dict[tuple[int, int], Update] = {}
    scratch, flags = np.empty(min(BLOCK, params.size), np.float32), np.empty(min(BLOCK, params.size), bool)
    begin, finite = 0, True
    # The caller has checked the gradient for NaN; an update that overflows is told by the result.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for end, index, number in _cut(grouping.ranges, numbers, step):
            group = grouping.groups[index]
            rate = learning_rate * group.factor
            if number and (index, number) not in updates:
                own = replace(settings, weight_decay=group.weight_decay)
                updates[index, number] = RULES[settings.name].update(own, rate, number)
            for start in range(begin, end, BLOCK) if number else ():
                cut = slice(start, min(start + BLOCK, end))
                blocks = [params[cut], *(vector[cut] for vector in state)]
                size = cut.stop - start
                updates[index, number](blocks[0], grads[cut], blocks[1:], scratch[:size])
                finite = finite and all(np.isfinite(each, out=flags[:size]).all() for each in blocks)
            if settings.layerwise and number:
                _take_step(params[begin:end], grads[begin:end], rate, scratch)
                finite = finite and bool(np.isfinite(params[begin:end]).all())
            begin = end
    return finite


def _cut(
    ranges: Sequence[tuple[int, int]], numbers: Sequence[tuple[int, int]] | None, step: int
) -> Iterator[tuple[int, int, int]]:
    """(stop, group, number of the update) of the ranges in which neither changes."""
    if numbers is None:
        yield from ((stop, group, step) for stop, group in ranges)
        return
    at = begin = 0
    for stop, group in ranges:
        while begin < stop:
            end, number = numbers[at]
            begin = min(end, stop)
            yield begin, group, number
            at += end <= stop


def _take_step(params: Float32, update: Float32, learning_rate: float, scratch: Float32) -> None:
    """A layerwise optimiser's step in one tensor, as long as its parameters are: the trust ratio of LAMB."""
    ours, theirs = norm(params), norm(update)
    ratio = ours / theirs if ours > 0 and theirs > 0 else 1.0
    for start in range(0, params.size, BLOCK):
        p = params[start : start + BLOCK]
        add_scaled(p, update[start : start + BLOCK], -learning_rate * ratio, scratch[: p.size])
