"""Plain torch on the same samples in one process: what distributed training must come to."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load

from helpers.jobs import Place
from sapflow import models
from sapflow.data.sampler import EpochOrder, Reader
from sapflow.objects import keys

OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate),
    "Momentum": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=0.9),
    "Nesterov": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True),
    "Adam": lambda parameters, rate: torch.optim.Adam(parameters, lr=rate),
    "AdamW": lambda parameters, rate: torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01),
    "Adagrad": lambda parameters, rate: torch.optim.Adagrad(parameters, lr=rate),
    "RMSprop": lambda parameters, rate: torch.optim.RMSprop(parameters, lr=rate),
}


class Reference:
    """A job's model and samples without anything of its distribution."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.spec = place.job.spec
        self.seed = self.spec.algorithm.seed
        self._reader = Reader(place.store, keys.data(keys.job(place.uid)), place.manifest)
        self._orders: dict[int, EpochOrder] = {}
        self.total = sum(place.manifest.train)

    def model(self) -> torch.nn.Module:
        """The model as version 0 has it."""
        manifest = self.place.manifest
        name = self.spec.model.name or str(self.spec.model.entrypoint)
        module = models.build(
            name, self.spec.model.args, inputs=manifest.shape, outputs=manifest.outputs, seed=self.seed
        )
        return module.train()

    def optimizer(self, module: torch.nn.Module) -> torch.optim.Optimizer:
        """torch's optimiser of the job's name, with its default hyperparameters."""
        optimizer: torch.optim.Optimizer = OPTIMIZERS[self.spec.optimizer.name](
            module.parameters(), self.spec.optimizer.learning_rate
        )
        return optimizer

    def samples(self, epoch: int, begin: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Features and targets of positions `begin` to `end` of an epoch."""
        if epoch not in self._orders:
            self._orders[epoch] = EpochOrder(self.place.manifest.train, self.seed, epoch)
        features, targets = self._reader.batch(self._orders[epoch], begin, end)
        return torch.from_numpy(features), torch.from_numpy(targets)

    def steps(self, count: int, samples: int) -> Iterator[tuple[int, int, int]]:
        """(epoch, begin, end) of `count` steps of so many samples; an epoch's last may have fewer."""
        epoch = used = 0
        for _ in range(count):
            end = min(used + samples, self.total)
            yield epoch, used, end
            epoch, used = (epoch + 1, 0) if end == self.total else (epoch, end)

    def result(self) -> dict[str, np.ndarray]:
        """The tensors of the job's result, by name."""
        return load(self.place.result())

    def assert_equal(self, module: torch.nn.Module, *, tolerance: float = 2e-5) -> None:
        """The result is this module's state, to a tolerance of float32's."""
        found = self.result()
        expected = {name: value.numpy() for name, value in module.state_dict().items()}
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].shape == value.shape, (
                f"{name}: assert_allclose takes a scalar and [1] for equal"
            )
            np.testing.assert_allclose(found[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def mean_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy, averaged."""
    return torch.nn.functional.cross_entropy(outputs, targets)
