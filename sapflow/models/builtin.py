"""The built-in networks, and the arguments each takes (checked by pydantic, in the spec's camelCase).

Features are float32 [samples, *inputs], images with channels first: inputs = (channels, height, width).
A network's output is [samples, outputs]: logits, or regression targets.
"""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt
from pydantic.alias_generators import to_camel
from torch import Tensor, nn

Inputs = tuple[int, ...]
Width = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
Probability = Annotated[float, Field(ge=0, lt=1, strict=True)]
Activation = Literal["relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leakyRelu"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leakyRelu": nn.LeakyReLU,
}


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True, allow_inf_nan=False)


class MlpArguments(Arguments):
    """Fully connected layers. Case A of the paper is hidden [100, 100, 100, 100, 100] on 20 features."""

    hidden: Annotated[list[Width], Field(max_length=100)] = [100]
    activation: Activation = "relu"
    dropout: Probability = 0.0
    batch_norm: StrictBool = False


class CnnArguments(Arguments):
    """Case B of the paper. `crop` cuts images to their middle crop × crop pixels first."""

    crop: Annotated[StrictInt, Field(ge=4)] | None = None
    channels: Annotated[list[Width], Field(min_length=2, max_length=2)] = [64, 64]
    dense: Annotated[list[Width], Field(min_length=2, max_length=2)] = [384, 192]


class LenetArguments(Arguments):
    """LeNet-5 with average pooling."""

    activation: Activation = "tanh"


def mlp(arguments: MlpArguments, inputs: Inputs, outputs: int) -> nn.Module:
    """Features of any shape are flattened and passed through linear layers."""
    features = 1
    for extent in inputs:
        features *= extent
    layers: list[nn.Module] = [nn.Flatten()] if len(inputs) != 1 else []
    widths = [features, *arguments.hidden]
    for before, after in pairwise(widths):
        layers.append(nn.Linear(before, after))
        if arguments.batch_norm:
            layers.append(nn.BatchNorm1d(after))
        layers.append(_ACTIVATIONS[arguments.activation]())
        if arguments.dropout:
            layers.append(nn.Dropout(arguments.dropout))
    layers.append(nn.Linear(widths[-1], outputs))
    return nn.Sequential(*layers)


def cnn(arguments: CnnArguments, inputs: Inputs, outputs: int) -> nn.Module:
    """The paper's case B: 2 convolutions, pools and local response norms, 2 dense layers and a linear one.

    Sizes are those of TensorFlow's CIFAR-10 tutorial network, 1,068,298 parameters at crop 24.
    """
    channels, height, width = _image(inputs, 4)
    layers: list[nn.Module] = []
    if arguments.crop is not None:
        if arguments.crop > min(height, width):
            raise ValueError(f"crop {arguments.crop} is larger than the images, {height} × {width}")
        layers.append(CenterCrop(arguments.crop))
        height = width = arguments.crop
    first, second = arguments.channels
    wide, narrow = arguments.dense
    height, width = (_halve(_halve(extent)) for extent in (height, width))
    layers += [
        nn.Conv2d(channels, first, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
        LocalResponseNorm(),
        nn.Conv2d(first, second, 5, padding=2),
        nn.ReLU(),
        LocalResponseNorm(),
        nn.MaxPool2d(3, 2, padding=1),
        nn.Flatten(),
        nn.Linear(second * height * width, wide),
        nn.ReLU(),
        nn.Linear(wide, narrow),
        nn.ReLU(),
        nn.Linear(narrow, outputs),
    ]
    return nn.Sequential(*layers)


def lenet(arguments: LenetArguments, inputs: Inputs, outputs: int) -> nn.Module:
    """LeNet-5: 61,706 parameters on one channel of 28 × 28 (padded to its original 32 × 32) or 32 × 32.

    Images too small for the second convolution are padded there as well.
    """
    channels, height, width = _image(inputs, 4)
    pad = 2 if min(height, width) < 32 else 0
    height, width = ((extent - 4 + 2 * pad) // 2 for extent in (height, width))
    pad_again = 2 if min(height, width) < 6 else 0
    height, width = ((extent - 4 + 2 * pad_again) // 2 for extent in (height, width))
    activation = _ACTIVATIONS[arguments.activation]
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=pad),
        activation(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5, padding=pad_again),
        activation(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * height * width, 120),
        activation(),
        nn.Linear(120, 84),
        activation(),
        nn.Linear(84, outputs),
    )


class CenterCrop(nn.Module):
    """The middle `size` × `size` pixels of images [samples, channels, height, width]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        top, left = ((extent - self.size) // 2 for extent in images.shape[-2:])
        return images[..., top : top + self.size, left : left + self.size]


class LocalResponseNorm(nn.Module):
    """x / (1 + α Σ x²)^0.75 over 9 neighbouring channels, α = 0.001/9, on [samples, channels, height, width].

    torch's own implementation uses a three-dimensional pooling, which took 40 % of the network's time on a CPU. A
    product with a band matrix takes a sixth of that.
    """

    def forward(self, images: Tensor) -> Tensor:
        channels = torch.arange(images.shape[1], device=images.device)
        near = (channels[:, None] - channels).abs() <= 4
        band = near.to(images.dtype) * (0.001 / 9)
        sums = torch.matmul(band, images.square().flatten(2)).view_as(images)
        root = torch.rsqrt(1 + sums)
        return images * (root * root.sqrt())


def _image(inputs: Inputs, least: int) -> tuple[int, int, int]:
    if len(inputs) != 3 or min(inputs[1:]) < least:
        shape = " × ".join(map(str, inputs))
        raise ValueError(
            f"needs images of channels × height × width, at least {least} pixels a side; the data has {shape}"
        )
    channels, height, width = inputs
    return channels, height, width


def _halve(extent: int) -> int:
    return -(-extent // 2)
