"""Linear models and multilayer perceptrons by numpy alone, as torch computes them.

Products are summed in another order than torch's, so outputs are equal to about 1e-6 of their size, not bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sapflow.errors import CorruptObject

Activation = Callable[[np.ndarray], np.ndarray]
EPSILON = 1e-5
"""What torch's BatchNorm1d adds to variances."""


def _sigmoid(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-values)), values.dtype)


def _erf(values: np.ndarray) -> np.ndarray:
    """The error function to 1.2e-7: Abramowitz and Stegun, 7.1.26, in float64."""
    size = np.abs(values.astype(np.float64))
    t = 1 / (1 + 0.3275911 * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.copysign(1 - series * np.exp(-size * size), values))


def _gelu(values: np.ndarray) -> np.ndarray:
    return np.asarray(values * 0.5 * (1 + _erf(values * np.sqrt(0.5))), values.dtype)


def _elu(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.expm1(np.minimum(values, 0)))


ACTIVATIONS: Mapping[str, Activation] = {
    "relu": lambda values: np.maximum(values, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "gelu": _gelu,
    "silu": lambda values: values * _sigmoid(values),
    "elu": _elu,
    "leakyRelu": lambda values: np.where(values > 0, values, values * np.float32(0.01)),
}


@dataclass(frozen=True, slots=True)
class Linear:
    """x ↦ x Wᵀ + b. `weight` is float32 [outputs, inputs], `bias` [outputs]."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values @ self.weight.T + self.bias)


@dataclass(frozen=True, slots=True)
class Normalized:
    """BatchNorm1d in evaluation: x ↦ x · factor + offset, each float32 [values]."""

    factor: np.ndarray
    offset: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values * self.factor + self.offset)


@dataclass(frozen=True, slots=True)
class Perceptron:
    """Layers one after another."""

    layers: Sequence[Activation]

    def __call__(self, scaled: np.ndarray) -> np.ndarray:
        """Outputs float32 [n, outputs] for scaled features float32 [n, *inputs]."""
        values = scaled.reshape(len(scaled), -1)
        for layer in self.layers:
            values = layer(values)
        return values


def perceptron(
    args: Mapping[str, object], inputs: tuple[int, ...], tensors: Mapping[str, np.ndarray], name: str
) -> Perceptron:
    """The built-in `mlp` of these arguments with the weights of its file; a linear model is one without hidden layers.

    Raises CorruptObject where the tensors are not its complete state.
    """
    hidden = args.get("hidden", [100])
    activation = ACTIVATIONS.get(str(args.get("activation", "relu")))
    if not isinstance(hidden, list) or activation is None:
        raise CorruptObject(f"{name} says that it is an mlp of arguments that there are not: {dict(args)}")
    left = dict(tensors)

    def taken(place: int, kind: str) -> np.ndarray:
        try:
            return left.pop(f"{place}.{kind}")
        except KeyError as error:
            raise CorruptObject(f"{name} lacks the tensor {place}.{kind} of its mlp") from error

    layers: list[Activation] = []
    # A module of torch without weights has a number, too.
    at, width = (0 if len(inputs) == 1 else 1), int(np.prod(inputs))
    for index in range(len(hidden) + 1):
        linear = Linear(taken(at, "weight"), taken(at, "bias"))
        if linear.weight.shape[1:] != (width,) or linear.bias.shape != linear.weight.shape[:1]:
            raise CorruptObject(
                f"{name} has a layer {at} of the shape {linear.weight.shape} after {width} values"
            )
        layers.append(linear)
        width, at = len(linear.bias), at + 1
        if index == len(hidden):
            break
        if args.get("batchNorm"):
            deviation = np.sqrt(taken(at, "running_var") + np.float32(EPSILON))
            factor = taken(at, "weight") / deviation
            layers.append(Normalized(factor, taken(at, "bias") - taken(at, "running_mean") * factor))
            left.pop(f"{at}.num_batches_tracked", None)
            at += 1
        layers.append(activation)
        at += 2 if args.get("dropout") else 1
    if left:
        raise CorruptObject(f"{name} has tensors that its mlp has not: {', '.join(sorted(left)[:5])}")
    return Perceptron(layers)
