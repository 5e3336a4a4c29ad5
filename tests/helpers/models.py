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
