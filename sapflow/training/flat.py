"""A torch model whose parameters, gradients and float buffers are views on flat, 64-byte aligned vectors.

Reading parameters is a single copy, and the gradient is written as it is: a step gathers and scatters nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from sapflow.algorithms.tensors import Tensors
from sapflow.errors import CorruptObject, SpecError
from sapflow.objects.safetensor import aligned


@dataclass(frozen=True, slots=True)
class Entry:
    """A named part of the model's state: a view of the flat vector, or a buffer that is not averaged."""

    name: str
    kind: str
    """`parameter` (trained), `buffer` (float32, averaged), `frozen` (a parameter without gradients) or `raw`."""
    shape: tuple[int, ...]
    offset: int
    """The first element in the version's vector, or of a raw buffer the first byte among the bytes of all of them."""
    dtype: str

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.kind,
            "shape": list(self.shape),
            "offset": self.offset,
            "dtype": self.dtype,
        }


@dataclass(frozen=True, slots=True)
class _Buffer:
    """A buffer of a module, and the tensor that is to be in its place at the beginning of each call."""

    name: str
    owner: nn.Module
    attribute: str
    tensor: torch.Tensor

    def current(self) -> torch.Tensor:
        """What is in its place now: the model may have replaced it. Raises SpecError if that has another shape."""
        found = self.owner._buffers[self.attribute]
        if found is None or found.shape != self.tensor.shape:
            now = "None" if found is None else f"of shape {list(found.shape)}"
            raise SpecError(
                [
                    (
                        "spec.model",
                        f"buffer {self.name} of shape {list(self.tensor.shape)} is {now} after a forward pass; "
                        "buffers must keep their shapes, or be registered with persistent=False",
                    )
                ]
            )
        return found


class FlatModel:
    """A module whose state is on flat vectors.

    `values` float32 [P + B] holds trained parameters, then float32 buffers; `frozen` [F] parameters without gradients.
    The contribution is written from `output` float32 [P + B + extra · P], whose first P elements are the gradient.
    Buffers of other types are carried as their bytes, those of the first rank.
    """

    def __init__(self, module: nn.Module, extra: int = 0) -> None:
        self.module = module
        parameters = dict(module.named_parameters())
        for name, parameter in parameters.items():
            if parameter.dtype != torch.float32:
                raise SpecError(
                    [("spec.model", f"parameter {name} is {parameter.dtype}; only torch.float32 is trained")]
                )
        trained = {name: each for name, each in parameters.items() if each.requires_grad}
        frozen = {name: each for name, each in parameters.items() if not each.requires_grad}
        if not trained:
            raise SpecError([("spec.model", "the model has no parameters to train")])
        state = module.state_dict(keep_vars=True)
        buffers = {name: value for name, value in module.named_buffers() if name in state}
        floats = {n: b for n, b in buffers.items() if b.dtype == torch.float32}
        self._raw = [self._buffer(n, b) for n, b in buffers.items() if b.dtype != torch.float32]
        self._held_raw = b""
        self.parameters = sum(p.numel() for p in trained.values())
        self.buffers = sum(b.numel() for b in floats.values())
        self.values = aligned(self.parameters + self.buffers)
        self.frozen = aligned(sum(p.numel() for p in frozen.values()))
        self.output = aligned(self.parameters * (1 + extra) + self.buffers)
        self.gradient = self.output[: self.parameters]
        self._floats: list[_Buffer] = []
        self._gradients: list[tuple[nn.Parameter, torch.Tensor]] = []
        self._seen: list[int] = []
        offsets: dict[int, int] = {}
        averaged = self.values[self.parameters :]
        with torch.no_grad():
            for _, parameter, view in _placed(trained, self.values[: self.parameters], offsets, 0):
                parameter.data = view
                begin = offsets[id(parameter)]
                # Each has a tensor of its own, whose version tells whether a backward pass has added to it.
                own = torch.from_numpy(self.gradient[begin : begin + view.numel()])
                self._gradients.append((parameter, own.view(view.shape)))
            for name, _, view in _placed(floats, averaged, offsets, self.parameters):
                self._floats.append(self._buffer(name, view))
            for _, parameter, view in _placed(frozen, self.frozen, offsets, len(self.output)):
                parameter.data = view
        self.restore_buffers()
        self._counted = [index for index, (_, view) in enumerate(self._gradients) if view.numel()]
        self.stops = np.cumsum([self._gradients[index][1].numel() for index in self._counted], dtype=np.int64)
        sizes = [each.tensor.numel() for each in self._floats if each.tensor.numel()]
        self._buffer_stops = np.cumsum(sizes, dtype=np.int64)
        self.tensors = Tensors.of(self.stops.tolist(), (self.parameters + self._buffer_stops).tolist())
        self._used = np.zeros(len(self.stops), bool)
        self.layout = self._lay_out(state, offsets)

    def _buffer(self, name: str, tensor: torch.Tensor) -> _Buffer:
        owner, _, attribute = name.rpartition(".")
        return _Buffer(name, self.module.get_submodule(owner), attribute, tensor)

    def _lay_out(self, state: dict[str, Any], offsets: dict[int, int]) -> list[Entry]:
        layout, position = [], 0
        raw: dict[int, int] = {}
        for each in self._raw:
            raw[id(each.tensor)] = position
            position += each.tensor.numel() * each.tensor.element_size()
        for name, value in state.items():
            key, shape = id(value), tuple(value.shape)
            if key in raw:
                dtype = str(value.dtype).removeprefix("torch.")
                layout.append(Entry(name, "raw", shape, raw[key], dtype))
            else:
                kind = "buffer"
                if isinstance(value, nn.Parameter):
                    kind = "parameter" if value.requires_grad else "frozen"
                layout.append(Entry(name, kind, shape, offsets[key], "float32"))
        return layout

    def zero_gradient(self) -> None:
        """Set the gradient to zero. Backward passes then add to it in place."""
        self.gradient.fill(0.0)
        for parameter, view in self._gradients:
            parameter.grad = view
        self._seen = [view._version for _, view in self._gradients]
        self._used.fill(False)

    def used(self) -> np.ndarray:
        """Of each trained tensor with elements, whether a backward pass has added to its gradient, bool [tensors]."""
        added = (self._gradients[i][1]._version != self._seen[i] for i in self._counted)
        used: np.ndarray = self._used | np.fromiter(added, bool, len(self._used))
        return used

    def note_used(self, used: np.ndarray) -> None:
        """Count tensors as used that were so before a cursor."""
        self._used |= used

    def check_gradient(self) -> None:
        """Check that backward has added in place; a hook that replaces `.grad` would otherwise go unnoticed."""
        for parameter, view in self._gradients:
            if parameter.grad is None or parameter.grad.data_ptr() != view.data_ptr():
                raise SpecError(
                    [("spec.model", "the model replaces parameters' .grad, which Sapflow shares")]
                )

    def frozen_sum(self) -> int:
        """A sum over the bits of the parameters without gradients, which changes if one of them does."""
        return int(np.add.reduce(self.frozen.view(np.uint32), dtype=np.uint64))

    def restore_buffers(self) -> None:
        """Restore the tensors, in case a cancelled call has left replaced buffers."""
        for each in (*self._floats, *self._raw):
            each.owner._buffers[each.attribute] = each.tensor

    def collect_buffers(self) -> None:
        """Copy float buffers back to the flat vector that the model replaced instead of changing them in place."""
        for each in self._floats:
            current = each.current()
            if current is not each.tensor:
                with torch.no_grad():
                    each.tensor.copy_(current)
                each.owner._buffers[each.attribute] = each.tensor

    def changed_buffers(self, before: np.ndarray) -> np.ndarray | None:
        """Of each float32 buffer with elements, whether its bytes differ from `before`; None: those of each do."""
        if not len(self._buffer_stops):
            return None
        differs = self.values[self.parameters :].view(np.uint32) != before.view(np.uint32)
        begins = np.concatenate(([0], self._buffer_stops[:-1]))
        changed = np.logical_or.reduceat(differs, begins)
        return None if changed.all() else changed

    def hold_raw(self, content: bytes) -> None:
        """Set the buffers that are not averaged to those of the version that is held."""
        self._held_raw = content
        self.load_raw(content)

    def load_raw(self, content: bytes) -> None:
        """Set the buffers that are not averaged to what `raw` gave. Raises CorruptObject if they are of other sizes."""
        position = 0
        if len(content) != sum(each.tensor.numel() * each.tensor.element_size() for each in self._raw):
            raise CorruptObject(f"the version has {len(content)} bytes of buffers, which are not the model's")
        for each in self._raw:
            size = each.tensor.numel() * each.tensor.element_size()
            if size:
                piece = torch.frombuffer(bytearray(content[position : position + size]), dtype=torch.uint8)
                with torch.no_grad():
                    each.tensor.copy_(piece.view(each.tensor.dtype).view(each.tensor.shape))
            position += size

    def raw(self) -> bytes:
        """The bytes of the buffers that are not averaged, one after the other."""
        return b"".join(
            each.current().detach().to(each.tensor.dtype).reshape(-1).view(torch.uint8).numpy().tobytes()
            for each in self._raw
            if each.tensor.numel()
        )

    def changed_raw(self) -> bytes:
        """The bytes of `raw`, or none where they are those of the version that is held."""
        content = self.raw()
        return b"" if content == self._held_raw else content


def _placed(
    tensors: Mapping[str, torch.Tensor], vector: np.ndarray, offsets: dict[int, int], offset: int
) -> Iterator[tuple[str, Any, torch.Tensor]]:
    """Copy tensors to `vector`, one after the other: each one's name, itself, and its view there.

    `offset` is that of the vector's first element in the version's vector.
    """
    flat, begin = torch.from_numpy(vector), 0
    for name, tensor in tensors.items():
        view = flat[begin : begin + tensor.numel()].view(tensor.shape)
        view.copy_(tensor.detach())
        offsets[id(tensor)] = offset + begin
        yield name, tensor, view
        begin += tensor.numel()
