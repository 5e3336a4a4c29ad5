"""Examines a job's model before training: its sizes, and whether it fits the data."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch.func import functional_call

from sapflow.errors import SapflowError, SpecError
from sapflow.models.build import build
from sapflow.models.facts import ModelFacts, describe

_SAMPLES = 2


def examine(
    name_or_entrypoint: str, args: Mapping[str, Any], *, inputs: tuple[int, ...], outputs: int
) -> tuple[ModelFacts, int]:
    """Facts about a model, and the fewest samples that it can be trained on at once (batch statistics need 2).

    Built-in models are built on torch's meta device, which allocates nothing. A user's model is built for real,
    because its factory may do what meta tensors cannot.
    Raises SpecError like `build`, and if a factory fails or outputs do not have the shape of the data's targets.
    """
    own = ":" in name_or_entrypoint
    field = "spec.model.entrypoint" if own else "spec.model"
    try:
        with nullcontext() if own else torch.device("meta"):
            model = build(name_or_entrypoint, args, inputs=inputs, outputs=outputs, seed=0)
    except SapflowError:
        raise
    except Exception as error:
        text = f"{name_or_entrypoint} failed to build the model: {type(error).__name__}: {error}"
        raise SpecError([(field, text)]) from error
    facts = describe(model, inputs)
    shape = _output_shape(model.eval(), inputs)
    if shape != (_SAMPLES, outputs) and not (outputs == 1 and shape == (_SAMPLES,)):
        raise SpecError(
            [
                (
                    field,
                    f"gives outputs of shape {list(shape)} for {_SAMPLES} samples; the data's targets need "
                    f"[{_SAMPLES}, {outputs}]",
                )
            ]
        )
    return facts, _least_batch(model.train(), inputs)


def _forward(model: torch.nn.Module, samples: int, inputs: tuple[int, ...]) -> object:
    """Run a forward pass on zeros that does not change running statistics."""
    state = {name: each.detach() for name, each in model.named_parameters()}
    state |= {name: each.clone() for name, each in model.named_buffers()}
    device = next(iter(state.values())).device
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        return functional_call(model, state, (torch.zeros((samples, *inputs), device=device),))


def _output_shape(model: torch.nn.Module, inputs: tuple[int, ...]) -> tuple[int, ...]:
    outputs = _forward(model, _SAMPLES, inputs)
    if not isinstance(outputs, torch.Tensor):
        raise SpecError([("spec.model", f"gives a {type(outputs).__name__}, not one tensor of outputs")])
    return tuple(outputs.shape)


def _least_batch(model: torch.nn.Module, inputs: tuple[int, ...]) -> int:
    try:
        _forward(model, 1, inputs)
    except (ValueError, RuntimeError):
        return 2
    return 1
