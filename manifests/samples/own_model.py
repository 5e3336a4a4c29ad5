"""A model of your own: a factory that returns a torch module. `inputs` and `outputs` come from the data."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """One residual block: x + W₂ relu(W₁ norm(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )

    def forward(self, samples: Tensor) -> Tensor:
        return torch.add(samples, self.inner(samples))


def residual(inputs: tuple[int, ...], outputs: int, width: int = 64, blocks: int = 2) -> nn.Module:
    """A network from samples [n, features] to [n, outputs] with `blocks` residual blocks of `width`."""
    (features,) = inputs
    return nn.Sequential(
        nn.Linear(features, width), *(Block(width) for _ in range(blocks)), nn.Linear(width, outputs)
    )
