"""Models of a user's own, for jobs that name them by entrypoint."""

import torch
from torch import Tensor, nn


class Brittle(nn.Module):
    """A linear layer whose output is NaN for a batch with a feature above `limit`."""

    def __init__(self, inputs: int, outputs: int, limit: float) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.limit = limit

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.linear(features)
        return output * float("nan") if self.training and float(features.max()) > self.limit else output


def brittle(inputs: tuple[int, ...], outputs: int, limit: float) -> nn.Module:
    """A Brittle network."""
    return Brittle(inputs[0], outputs, limit)


class Replacing(nn.Module):
    """Keeps a running mean of its features by putting a new tensor in the buffer's place."""

    mean: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.register_buffer("mean", torch.zeros(inputs))

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * features.detach().mean(dim=0)
        output: Tensor = self.linear(features - self.mean)
        return output


def replacing(inputs: tuple[int, ...], outputs: int) -> nn.Module:
    """A Replacing network."""
    return Replacing(inputs[0], outputs)


class Branches(nn.Module):
    """Tensors that are frozen, never used, used in some steps, used on some ranks, or used with a gradient of zero."""

    step: Tensor

    def __init__(self, inputs: int, outputs: int, limit: float, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(width, outputs)
        self.backbone = nn.Linear(inputs, width).requires_grad_(False)
        self.second = nn.Linear(width, outputs)
        self.rare = nn.Linear(width, outputs, bias=False)
        self.zero = nn.Parameter(torch.ones(3))
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.never = nn.Linear(2, 2)
        self.limit = limit
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, features: Tensor) -> Tensor:
        hidden = torch.tanh(self.backbone(features))
        output: Tensor = self.first(hidden) * self.scale
        if self.training:
            turn = int(self.step) % 3
            self.step += 1
            output = 0.0 * self.zero.sum() + hidden.mean() if turn == 0 else output
            output = output + self.second(hidden) if turn != 1 else output
            if float(features[:, 0].max()) > self.limit:
                output = output + self.rare(hidden)
        return output


def branches(inputs: tuple[int, ...], outputs: int, limit: float, width: int = 6) -> nn.Module:
    """A Branches network."""
    return Branches(inputs[0], outputs, limit, width)


class Buffers(nn.Module):
    """A linear layer with a mask that holds infinities, constants of float32, and a buffer of every other type."""

    mask: Tensor
    mean: Tensor
    turned: Tensor
    seen: Tensor

    TYPES = (
        "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "bfloat16",
        "float64", "float8_e4m3fn", "float8_e5m2",
    )  # fmt: skip

    def __init__(self, inputs: int, outputs: int, broken_after: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.broken_after = broken_after
        self.register_buffer("mask", torch.full((outputs, outputs), float("-inf")).triu(1))
        self.register_buffer("table", torch.arange(7, dtype=torch.float32) * 0.1)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("turned", torch.polar(torch.ones(inputs), torch.arange(inputs) * 0.7))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        for name in self.TYPES:
            self.register_buffer(
                f"of_{name}", torch.tensor([[1.0, 0.0], [1.0, 1.0]]).to(getattr(torch, name))
            )
        self.register_buffer("large", torch.tensor([2**62 + 1, -(2**62)]))
        self.register_buffer("empty", torch.zeros(0))

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
            self.mean = self.mean + 0.1 * features.detach().mean(dim=0)
            if int(self.seen) > self.broken_after:
                self.mean = self.mean * float("inf")
        turned = (features * self.turned).real
        output: Tensor = self.linear(turned)
        return torch.softmax(output[:, :, None] + self.mask, dim=1).sum(dim=2) + output


def buffers(inputs: tuple[int, ...], outputs: int, broken_after: int = 1_000_000) -> nn.Module:
    """A Buffers network."""
    return Buffers(inputs[0], outputs, broken_after)


class Momentum(nn.Module):
    """Changes its own frozen parameters, as a momentum encoder does."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear, self.slow = nn.Linear(inputs, outputs), nn.Linear(inputs, outputs).requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            for mine, other in zip(self.slow.parameters(), self.linear.parameters(), strict=True):
                mine.data.mul_(0.9).add_(other.data, alpha=0.1)
        output: Tensor = self.linear(features) + self.slow(features).detach()
        return output


def momentum(inputs: tuple[int, ...], outputs: int) -> nn.Module:
    """A Momentum network."""
    return Momentum(inputs[0], outputs)
