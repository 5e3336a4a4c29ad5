"""Sizes of a network, which `sapflow validate` compares with the memory of a worker."""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call

from sapflow.errors import SpecError

# Batch statistics need more than one.
_PROBE_SAMPLES = 2


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Numbers of elements. Tied parameters count once; buffers are the persistent ones (those in state_dict)."""

    parameters: int
    """Those that are trained."""
    frozen: int
    """Parameters with requires_grad=False."""
    float_buffers: int
    """Averaged: those of float32."""
    other_buffers: int
    activations_per_sample: int
    """Number of float32 values per sample that autograd keeps between forward and backward."""
    has_batch_statistics: bool
    has_dropout: bool
    names: tuple[str, ...]
    """Of the parameters, tied ones under each of their names."""


def describe(model: nn.Module, inputs: tuple[int, ...]) -> ModelFacts:
    """Facts about a model for samples of shape `inputs`. The model is neither moved nor changed.

    Runs forward once on two samples of zeros, on the device of the parameters. To describe a model on torch's meta
    device allocates nothing, but loads 80 MiB of torch's Python modules.
    Raises SpecError if the model does not accept such samples.
    """
    parameters = dict(model.named_parameters())
    own = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    buffers = {name: each for name, each in model.state_dict().items() if name not in own}
    return ModelFacts(
        parameters=sum(each.numel() for each in parameters.values() if each.requires_grad),
        frozen=sum(each.numel() for each in parameters.values() if not each.requires_grad),
        float_buffers=sum(each.numel() for each in buffers.values() if each.dtype == torch.float32),
        other_buffers=sum(each.numel() for each in buffers.values() if each.dtype != torch.float32),
        activations_per_sample=_activations(model, inputs),
        has_batch_statistics=any(
            isinstance(each, nn.modules.batchnorm._BatchNorm) for each in model.modules()
        ),
        has_dropout=any(_drops(each) for each in model.modules()),
        names=tuple(sorted(own)),
    )


def _drops(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    # Recurrent and attention layers have a dropout probability of their own.
    rate = getattr(module, "dropout", 0)
    return isinstance(rate, float) and rate > 0


def _activations(model: nn.Module, inputs: tuple[int, ...]) -> int:
    """The number of elements saved for backward, per sample. Each storage counts once, parameters and buffers do not.

    This takes a forward pass on stand-ins, so running statistics do not change.
    """
    stand_ins = {
        name: each.detach().requires_grad_(each.requires_grad) for name, each in model.named_parameters()
    }
    stand_ins |= {name: each.clone() for name, each in model.named_buffers()}
    own = {each.untyped_storage()._cdata for each in stand_ins.values()}
    saved: dict[int, int] = {}
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            # Views share a storage; holding the tensor keeps its address from being used again.
            saved[storage._cdata] = storage.nbytes()
            kept.append(tensor)
        return tensor

    device = next(iter(stand_ins.values())).device
    samples = torch.zeros((_PROBE_SAMPLES, *inputs), device=device)
    try:
        with torch.random.fork_rng(devices=[]), saved_tensors_hooks(pack, lambda tensor: tensor):
            functional_call(model, stand_ins, (samples,))
    except (RuntimeError, ValueError, IndexError) as error:
        refuse_nondeterministic(error)
        shape = " × ".join(map(str, inputs))
        raise SpecError([("spec.model", f"does not take samples of shape {shape}: {error}")]) from error
    return -(-sum(saved.values()) // (4 * _PROBE_SAMPLES))


def refuse_nondeterministic(error: Exception) -> None:
    """Raise SpecError if torch has no deterministic implementation of what it was asked for."""
    found = re.match(r"(\S+) does not have a deterministic implementation", str(error))
    if found is not None:
        text = (
            f"uses {found[1]}, which torch cannot compute so that repetitions give the same bits; training needs that. "
            "MaxUnpool2d, for one, has no such backward pass: take Upsample or ConvTranspose2d"
        )
        raise SpecError([("spec.model", text)]) from error
