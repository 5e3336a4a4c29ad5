"""Plain torch on the same samples in one process: what distributed training must come to."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load

from helpers.jobs import Place
from sapflow import models
from sapflow.data.dealing import Deal
from sapflow.data.order import Orders
from sapflow.data.sampler import Reader

OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate),
    "Momentum": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=0.9),
    "Nesterov": lambda parameters, rate: torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True),
    "Adam": lambda parameters, rate: torch.optim.Adam(parameters, lr=rate),
    "AdamW": lambda parameters, rate: torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01),
    "Adagrad": lambda parameters, rate: torch.optim.Adagrad(parameters, lr=rate),
    "RMSprop": lambda parameters, rate: torch.optim.RMSprop(parameters, lr=rate),
}


def split(begin: int, end: int, workers: int) -> list[tuple[int, int]]:
    """The positions of each rank: `begin` to `end` divided as evenly as possible. A rank's may be none."""
    count = end - begin
    return [(begin + r * count // workers, begin + (r + 1) * count // workers) for r in range(workers)]


class Reference:
    """A job's model and samples without anything of its distribution."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.spec = place.job.spec
        self.seed = self.spec.algorithm.seed
        self._reader = Reader(place.store, place.resolved.data_prefix, place.manifest)
        self._orders = Orders(place.manifest.train, self.seed)
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
        """Features and targets of positions `begin` to `end` of an epoch: its steps one after the other, and in each
        the ranks one after the other, so that `split` of a step's positions are its ranks'."""
        per_rank = self.spec.data.batch_size * self.spec.algorithm.facts.local_steps
        deal, shares, at = Deal(self.total, per_rank, self.spec.workers), [], 0
        for step in range(deal.steps):
            for share in (each for rank in range(deal.workers) for each in deal.shares(rank, step)):
                first, stop = max(begin, at) - at, min(end, at + share.samples) - at
                if stop > first:
                    shares.append(replace(share, begin=share.begin + first, end=share.begin + stop))
                at += share.samples
        features, targets = self._reader.batch(self._orders.locate(epoch, shares))
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
