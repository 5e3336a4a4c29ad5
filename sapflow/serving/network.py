"""A model's network: by numpy where that can compute it, else by torch, which is loaded only then."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sapflow.serving.description import Description
from sapflow.serving.layers import perceptron
from sapflow.serving.without_torch import needs_torch

Network = Callable[[np.ndarray], np.ndarray]
"""Outputs float32 [n, outputs] for scaled features float32 [n, *inputs]."""


def network(about: Description, tensors: Mapping[str, np.ndarray], name: str) -> Network:
    """The network with these weights. The caller has checked that code of the model's own may run.

    Raises CorruptObject where they are not its complete state, SpecError where it cannot be built.
    """
    if not needs_torch(about.model):
        return perceptron(about.model.args, about.inputs, tensors, name)
    from sapflow.models import inference  # loads torch

    built = module(about, tensors)
    return lambda scaled: inference.forward(built, scaled)


def module(about: Description, tensors: Mapping[str, np.ndarray]) -> Any:
    """The network as a module of torch, which this loads. The caller has checked that its code may run.

    Raises what `network` raises.
    """
    from sapflow.models import inference

    return inference.restore(
        about.model.name or str(about.model.entrypoint),
        about.model.args,
        inputs=about.inputs,
        outputs=about.outputs,
        tensors=tensors,
        env=about.model.env,
    )
