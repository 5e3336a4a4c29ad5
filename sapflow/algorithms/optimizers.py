"""What the root does with an averaged gradient: torch.optim's update rules on flat float32 vectors, in numpy.

Every rule is elementwise, so the result is bit-identical for every cut of the vector into ranges; what is
not elementwise (clipping, the check for NaN) goes through sums of squares over fixed blocks, which any cut
on block boundaries reproduces.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

OptimizerName = Literal["SGD", "Momentum", "Nesterov", "Adam", "AdamW", "Adagrad"]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

NAMES: tuple[str, ...] = get_args(OptimizerName)

# One pass of Adam touches five arrays: blocks of 32k keep them near the core, 64k and more gain nothing more.
_BLOCK = 1 << 15
_MIN_NORM_BLOCK = 1 << 10
_MAX_NORM_BLOCKS = 1 << 12
_CLIP_EPSILON = 1e-6
_DEFAULT_EPSILON = {"Adam": 1e-8, "AdamW": 1e-8, "Adagrad": 1e-10}


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """One optimiser. Fields that an optimiser does not use are ignored by it.

    `epsilon` None is the optimiser's own default in torch. `weight_decay` is an L2 term added to the
    gradient, decoupled from it in AdamW. Raises ValueError for values that torch.optim refuses.
    """

    name: OptimizerName
    momentum: float = 0.9
    dampening: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float | None = None
    weight_decay: float = 0.0
    initial_accumulator: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise ValueError(f"unknown optimizer {self.name!r}: use one of {', '.join(NAMES)}")
        if self.name == "Nesterov" and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("Nesterov needs a momentum above 0 and no dampening")
        for field in ("beta1", "beta2"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}, it must be at least 0 and below 1")
        for field in ("momentum", "weight_decay", "initial_accumulator"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} is {getattr(self, field)}, it must not be negative")


def slots(settings: OptimizerSettings) -> tuple[str, ...]:
    """Names of the float32 state vectors, each as long as the parameters, in the order `apply` takes them."""
    match settings.name:
        case "SGD":
            return ()
        case "Momentum" | "Nesterov":
            return ("momentum",)
        case "Adam" | "AdamW":
            return ("exp_avg", "exp_avg_sq")
        case "Adagrad":
            return ("sum",)


def initial(settings: OptimizerSettings, slot: str) -> float:
    """The value that fills a state vector before the first update."""
    return settings.initial_accumulator if slot == "sum" else 0.0


def apply(
    settings: OptimizerSettings,
    *,
    params: Float32,
    grads: Float32,
    state: Sequence[Float32],
    learning_rate: float,
    step: int,
) -> None:
    """One update of `params` and `state`, both [n] and in place; `grads` [n] is used as scratch.

    `step` is the 1-based number of this update. Memory beyond the arguments is one block, whatever n.
    Raises ValueError for vectors of other lengths or types, or a state that is not this optimiser's.
    """
    names = slots(settings)
    if len(state) != len(names):
        raise ValueError(f"{settings.name} keeps {len(names)} state vectors {names}, {len(state)} were given")
    for label, vector in (("params", params), ("grads", grads), *zip(names, state, strict=True)):
        if vector.dtype != np.float32 or vector.shape != (params.size,):
            raise ValueError(f"{label} is {vector.dtype}{vector.shape}, not float32({params.size},)")
    if step < 1:
        raise ValueError(f"step is {step}, updates count from 1")
    update = _RULES[settings.name](settings, learning_rate, step)
    scratch = np.empty(min(_BLOCK, params.size), np.float32)
    # Whoever calls has looked for NaN; a local step that overflows is found by the next look.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for start in range(0, params.size, _BLOCK):
            cut = slice(start, start + _BLOCK)
            p = params[cut]
            update(p, grads[cut], [vector[cut] for vector in state], scratch[: p.size])


_Update = Callable[[Float32, Float32, list[Float32], Float32], None]


def _add_scaled(target: Float32, source: Float32, factor: float, scratch: Float32) -> None:
    np.multiply(source, factor, out=scratch)
    target += scratch


def _sgd(settings: OptimizerSettings, learning_rate: float, step: int) -> _Update:
    decay = settings.weight_decay

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        if decay:
            _add_scaled(g, p, decay, t)
        _add_scaled(p, g, -learning_rate, t)

    return update


def _momentum(settings: OptimizerSettings, learning_rate: float, step: int) -> _Update:
    decay, momentum = settings.weight_decay, settings.momentum
    nesterov = settings.name == "Nesterov"
    # torch starts the buffer as a copy of the first gradient, undampened.
    fresh = 1.0 if step == 1 else 1.0 - settings.dampening

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        (buffer,) = state
        if decay:
            _add_scaled(g, p, decay, t)
        buffer *= momentum
        if fresh == 1.0:
            buffer += g
        else:
            _add_scaled(buffer, g, fresh, t)
        if nesterov:
            _add_scaled(g, buffer, momentum, t)
            _add_scaled(p, g, -learning_rate, t)
        else:
            _add_scaled(p, buffer, -learning_rate, t)

    return update


def _adam(settings: OptimizerSettings, learning_rate: float, step: int) -> _Update:
    decay, beta1, beta2 = settings.weight_decay, settings.beta1, settings.beta2
    decoupled = settings.name == "AdamW"
    epsilon = _epsilon(settings)
    step_size = learning_rate / (1.0 - beta1**step)
    root_correction = math.sqrt(1.0 - beta2**step)

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        mean, square = state
        if decay and decoupled:
            p *= 1.0 - learning_rate * decay
        elif decay:
            _add_scaled(g, p, decay, t)
        np.subtract(g, mean, out=t)
        t *= 1.0 - beta1
        mean += t
        square *= beta2
        g *= g
        _add_scaled(square, g, 1.0 - beta2, t)
        np.sqrt(square, out=t)
        t /= root_correction
        t += epsilon
        np.divide(mean, t, out=t)
        t *= step_size
        p -= t

    return update


def _adagrad(settings: OptimizerSettings, learning_rate: float, step: int) -> _Update:
    decay, epsilon = settings.weight_decay, _epsilon(settings)

    def update(p: Float32, g: Float32, state: list[Float32], t: Float32) -> None:
        (total,) = state
        if decay:
            _add_scaled(g, p, decay, t)
        np.multiply(g, g, out=t)
        total += t
        np.sqrt(total, out=t)
        t += epsilon
        g /= t
        _add_scaled(p, g, -learning_rate, t)

    return update


def _epsilon(settings: OptimizerSettings) -> float:
    return _DEFAULT_EPSILON[settings.name] if settings.epsilon is None else settings.epsilon


_RULES: dict[str, Callable[[OptimizerSettings, float, int], _Update]] = {
    "SGD": _sgd,
    "Momentum": _momentum,
    "Nesterov": _momentum,
    "Adam": _adam,
    "AdamW": _adam,
    "Adagrad": _adagrad,
}


def block_size(parameters: int) -> int:
    """Elements of one norm block: a power of two ≥ 1,024 that makes at most 4,096 blocks of a vector.

    A function of the parameter count only: shards are cut between blocks, so the norms, and with them the
    weights, are the same for every number of shards.
    """
    block = _MIN_NORM_BLOCK
    while -(-parameters // block) > _MAX_NORM_BLOCKS:
        block *= 2
    return block


def squared_norms(vector: Float32, block: int) -> Float64:
    """Sums of squares of each block of `vector` [n], in float64 [⌈n/block⌉]; the last block may be short.

    No BLAS: its order of summation depends on threads and sizes. Each block is one row of numpy's pairwise
    sum, whose order depends on the block's length only.
    """
    count = -(-vector.size // block)
    norms = np.empty(count, np.float64)
    group = max(1, _BLOCK // block)
    squares = np.empty(min(group * block, vector.size), np.float64)
    with np.errstate(invalid="ignore"):
        for first in range(0, count, group):
            part = vector[first * block : (first + group) * block]
            window = squares[: part.size]
            window[:] = part
            window *= window
            full = part.size // block
            np.add.reduce(
                window[: full * block].reshape(full, block), axis=1, out=norms[first : first + full]
            )
            if part.size % block:
                norms[first + full] = np.add.reduce(window[full * block :])
    return norms


def finite(norms: Float64) -> bool:
    """Whether the vector behind these norms has neither NaN nor infinity."""
    return bool(np.isfinite(norms).all())


def clip_scale(norms: Float64, weight: float, max_norm: float | None) -> float:
    """What to multiply the *averaged* gradient by, so that its global norm is at most `max_norm`.

    `norms` are of the summed gradient, `weight` is what the sum is divided by. The formula is that of
    torch.nn.utils.clip_grad_norm_: max_norm / (norm + 1e-6), at most 1. None clips nothing.
    """
    if max_norm is None:
        return 1.0
    if weight <= 0:
        raise ValueError(f"a gradient of weight {weight} has no average")
    norm = math.sqrt(math.fsum(norms)) / weight
    return min(1.0, max_norm / (norm + _CLIP_EPSILON))
