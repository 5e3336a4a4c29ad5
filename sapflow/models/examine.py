"""Examines a job's model before training: its sizes, and whether it fits the data."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.func import functional_call

from sapflow.errors import SapflowError, SpecError
from sapflow.models.build import build
from sapflow.models.facts import ModelFacts, describe, refuse_nondeterministic
from sapflow.tracebacks import raised

_SAMPLES = 2
FROZEN_CHANGED = (
    "changes parameters that have requires_grad=False while it trains, which no other instance would see: register "
    "what the model changes itself as buffers, which are averaged"
)


def examine(
    name_or_entrypoint: str,
    args: Mapping[str, Any],
    *,
    inputs: tuple[int, ...],
    outputs: int,
    env: Mapping[str, str] | None = None,
) -> tuple[ModelFacts, int]:
    """Facts about a model, and the fewest samples that it can be trained on at once (batch statistics need 2).

    Built-in models are built on torch's meta device, which allocates nothing. A user's model is built for real,
    because its factory may do what meta tensors cannot, and takes one backward pass on zeros.
    Raises SpecError like `build`, if its code fails, or if outputs do not have the shape of the data's targets.
    """
    own = ":" in name_or_entrypoint
    field = "spec.model.entrypoint" if own else "spec.model"
    where = nullcontext() if own else torch.device("meta")
    with _explained(field, f"{name_or_entrypoint} failed to build the model"), where:
        model = build(name_or_entrypoint, args, inputs=inputs, outputs=outputs, seed=0, env=env)
    with _explained(field, f"{name_or_entrypoint} failed on {_SAMPLES} samples of zeros"):
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
    model.train()
    if own:
        with _explained(field, f"{name_or_entrypoint} failed in a backward pass"):
            _backward(model, inputs, field)
    with _explained(field, f"{name_or_entrypoint} failed on a sample of zeros"):
        return facts, _least_batch(model, inputs)


@contextmanager
def _explained(field: str, what: str) -> Iterator[None]:
    """Raise what a user's code raises as a SpecError that names the line."""
    try:
        yield
    except SapflowError:
        raise
    except Exception as error:
        raise SpecError([(field, f"{what}: {raised(error)}{_hint(error)}")]) from error


def _hint(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, KeyError) and frames and frames[-1].filename.endswith(("<frozen os>", "os.py")):
        return "; functions have no environment variables of yours: give it in spec.model.env"
    return ""


def _backward(model: torch.nn.Module, inputs: tuple[int, ...], field: str) -> None:
    """A backward pass by deterministic algorithms, as training has it. Raises SpecError where there is none."""
    state = {
        name: each.detach().clone().requires_grad_(each.requires_grad)
        for name, each in model.named_parameters()
    }
    state |= {name: each.clone() for name, each in model.named_buffers()}
    before = {name: each.detach().clone() for name, each in state.items() if not each.requires_grad}
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("error")
    try:
        with torch.random.fork_rng(devices=[]):
            outputs = functional_call(model, state, (torch.zeros((_SAMPLES, *inputs)),))
            outputs.sum().backward()
    except RuntimeError as error:
        refuse_nondeterministic(error)
        raise
    finally:
        torch.set_deterministic_debug_mode(mode)
    names = {name for name, each in model.named_parameters() if not each.requires_grad}
    if any(not torch.equal(state[name], before[name]) for name in names):
        raise SpecError([(field, FROZEN_CHANGED)])


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
