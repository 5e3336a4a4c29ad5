"""A model that needs far more memory than its parameters tell: what no estimate can see before it runs."""

import torch
from torch import Tensor, nn


class Hungry(nn.Module):
    """A linear layer that holds so many mebibytes beside its work."""

    def __init__(self, features: int, outputs: int, mebibytes: int) -> None:
        super().__init__()
        self.inner = nn.Linear(features, outputs)
        self.size = mebibytes * 2**18

    def forward(self, samples: Tensor) -> Tensor:
        """Samples [n, features] to [n, outputs]."""
        held = torch.ones(self.size, device=samples.device)
        result: Tensor = self.inner(samples) + 0 * held[0]
        return result


def hungry(inputs: tuple[int, ...], outputs: int, mebibytes: int) -> nn.Module:
    (features,) = inputs
    return Hungry(features, outputs, mebibytes)
