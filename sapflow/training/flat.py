"""A torch model whose parameters, gradients and float buffers are views on flat, 64-byte aligned vectors.

Reading parameters is a single copy, and the gradient is written as it is: a step gathers and scatters nothing.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sapflow.errors import CorruptObject, SpecError
from sapflow.objects.safetensor import aligned


@dataclass(frozen=True, slots=True)
class Entry:
    """A named part of the model's state: a view of the flat vector, or an integer buffer."""

    name: str
    kind: str
    """`parameter`, `buffer` (float, averaged) or `integer`."""
    shape: tuple[int, ...]
    offset: int
    """The first element in the flat vector, or in the integer vector for integers."""
    dtype: str

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "shape": list(self.shape),
            "offset": self.offset,
            "dtype": self.dtype,
        }


class FlatModel:
    """A module whose state is on flat vectors.

    `values` float32 [P + B] holds parameters, then float buffers. The contribution is written from `output` float32
    [P + B + extra · P], whose first P elements are the gradient. Integer buffers are sent as int64.
    """

    def __init__(self, module: nn.Module, extra: int = 0) -> None:
        self.module = module
        parameters = dict(module.named_parameters())
        if not parameters:
            raise SpecError([("spec.model", "the model has no parameters to train")])
        for name, parameter in parameters.items():
            if parameter.dtype != torch.float32:
                raise SpecError(
                    [("spec.model", f"parameter {name} is {parameter.dtype}; only torch.float32 is trained")]
                )
        state = module.state_dict(keep_vars=True)
        buffers = {name: value for name, value in module.named_buffers() if name in state}
        floats = {n: b for n, b in buffers.items() if b.dtype.is_floating_point}
        integers = {n: b for n, b in buffers.items() if not b.dtype.is_floating_point}
        self.parameters = sum(p.numel() for p in parameters.values())
        self.buffers = sum(b.numel() for b in floats.values())
        self.values = aligned(self.parameters + self.buffers)
        self.output = aligned(self.parameters * (1 + extra) + self.buffers)
        self.gradient = self.output[: self.parameters]
        self._integers = [self._place(name) for name in integers]
        self._floats: list[tuple[nn.Module, str, torch.Tensor]] = []
        self._gradients: list[tuple[nn.Parameter, torch.Tensor]] = []
        offsets: dict[int, int] = {}
        values, gradient = torch.from_numpy(self.values), torch.from_numpy(self.gradient)
        offset = 0
        with torch.no_grad():
            for parameter in parameters.values():
                stop = offset + parameter.numel()
                view = values[offset:stop].view(parameter.shape)
                view.copy_(parameter)
                parameter.data = view
                if parameter.requires_grad:
                    self._gradients.append((parameter, gradient[offset:stop].view(parameter.shape)))
                offsets[id(parameter)] = offset
                offset = stop
            for name, buffer in floats.items():
                stop = offset + buffer.numel()
                view = values[offset:stop].view(buffer.shape)
                view.copy_(buffer)
                owner, attribute = self._place(name)
                owner._buffers[attribute] = view
                self._floats.append((owner, attribute, view))
                offsets[id(buffer)] = offset
                offset = stop
        self.layout = self._lay_out(state, offsets, integers)

    def _place(self, name: str) -> tuple[nn.Module, str]:
        owner, _, attribute = name.rpartition(".")
        return self.module.get_submodule(owner), attribute

    def _lay_out(
        self, state: dict[str, Any], offsets: dict[int, int], integers: dict[str, torch.Tensor]
    ) -> list[Entry]:
        layout, integer_offsets, position = [], {}, 0
        for buffer in integers.values():
            integer_offsets[id(buffer)] = position
            position += buffer.numel()
        for name, value in state.items():
            key = id(value)
            shape, dtype = tuple(value.shape), str(value.dtype).removeprefix("torch.")
            if key in integer_offsets:
                layout.append(Entry(name, "integer", shape, integer_offsets[key], dtype))
            else:
                kind = "parameter" if isinstance(value, nn.Parameter) else "buffer"
                layout.append(Entry(name, kind, shape, offsets[key], "float32"))
        return layout

    def zero_gradient(self) -> None:
        """Set the gradient to zero. Backward passes then add to it in place."""
        self.gradient.fill(0.0)
        for parameter, view in self._gradients:
            parameter.grad = view

    def check_gradient(self) -> None:
        """Check that backward has added in place; a hook that replaces `.grad` would otherwise go unnoticed."""
        for parameter, view in self._gradients:
            if parameter.grad is None or parameter.grad.data_ptr() != view.data_ptr():
                raise SpecError(
                    [("spec.model", "the model replaces parameters' .grad, which Sapflow shares")]
                )

    def restore_buffers(self) -> None:
        """Restore the views, in case a cancelled call has left replaced buffers."""
        for owner, attribute, view in self._floats:
            owner._buffers[attribute] = view

    def collect_buffers(self) -> None:
        """Copy float buffers back to the flat vector that the model replaced instead of changing them in place."""
        for owner, attribute, view in self._floats:
            current = owner._buffers[attribute]
            if current is not view:
                with torch.no_grad():
                    view.copy_(current if current is not None else torch.zeros_like(view))
                owner._buffers[attribute] = view

    def load_integers(self, encoded: str) -> None:
        """Set integer buffers from the base64 text of the bytes that `dump_integers` returns."""
        raw = base64.b64decode(encoded)
        values = torch.from_numpy(np.frombuffer(raw, np.int64).copy()) if raw else torch.empty(0)
        position = 0
        for owner, attribute in self._integers:
            buffer = owner._buffers[attribute]
            assert buffer is not None
            piece = values[position : position + buffer.numel()]
            if piece.numel() != buffer.numel():
                raise CorruptObject(f"integer buffers have {len(raw)} bytes, fewer than the model's")
            with torch.no_grad():
                buffer.copy_(piece.view(buffer.shape))
            position += buffer.numel()

    def dump_integers(self) -> bytes:
        """The integer buffers as little-endian int64 bytes."""
        buffers = (owner._buffers[attribute] for owner, attribute in self._integers)
        return b"".join(b.reshape(-1).to(torch.int64).numpy().tobytes() for b in buffers if b is not None)
