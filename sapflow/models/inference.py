"""Inference with a trained model: builds it, loads its weights, and passes samples through it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from sapflow.errors import CorruptObject
from sapflow.models.build import build

BATCH = 1024


def restore(
    name_or_entrypoint: str,
    args: Mapping[str, Any],
    *,
    inputs: tuple[int, ...],
    outputs: int,
    tensors: Mapping[str, np.ndarray],
    env: Mapping[str, str] | None = None,
) -> nn.Module:
    """The model with these weights, in evaluation mode.

    Raises SpecError if it cannot be built, and CorruptObject if the tensors are not its complete state.
    """
    model = build(name_or_entrypoint, args, inputs=inputs, outputs=outputs, seed=0, env=env)
    try:
        model.load_state_dict({name: tensor_of(array) for name, array in tensors.items()})
    except RuntimeError as error:
        raise CorruptObject(f"the weights are not those of {name_or_entrypoint}: {error}") from error
    return model.eval()


def tensor_of(array: np.ndarray) -> torch.Tensor:
    """A copy as a tensor, also of types that numpy lacks (see `sapflow.objects.safetensor.DTYPES`)."""
    if array.dtype.names is None:
        return torch.from_numpy(array.copy())
    (name,) = array.dtype.names
    dtype: torch.dtype = getattr(torch, name)
    return torch.from_numpy(array[name].copy()).view(dtype)


def forward(model: nn.Module, features: np.ndarray) -> np.ndarray:
    """Outputs float32 [n, outputs] for scaled features float32 [n, *inputs]."""
    pieces = []
    with torch.inference_mode():
        for start in range(0, len(features), BATCH):
            outputs = model(torch.from_numpy(np.ascontiguousarray(features[start : start + BATCH])))
            pieces.append(outputs.reshape(len(outputs), -1).numpy())
    return np.concatenate(pieces)
