"""A worker's work: initialise a model, compute one rank's contribution.

The whole training loop of a worker is in this file. With `localSteps: 1` a contribution is Σ gradient over the
rank's samples; with more local steps it is samples × (model after local steps − model before). What is written depends
only on the request.
"""

import hashlib
import json
from collections.abc import Iterator

import numpy as np
import torch

from sapflow.algorithms import optimizers, schedules
from sapflow.algorithms.merge import write
from sapflow.channels.channels import Channels
from sapflow.data.sampler import micro_batches
from sapflow.errors import CorruptObject, SpecError
from sapflow.messages.replies import InitializeReply, TrainReply
from sapflow.messages.requests import InitializeRequest, TrainRequest
from sapflow.objects import contribution, keys
from sapflow.objects.contribution import Sums
from sapflow.objects.stores.protocol import Store
from sapflow.quantities import structure
from sapflow.timing import Timing
from sapflow.training.loaded import JobCache, LoadedJob, RankState


def initialize(store: Store, jobs: JobCache, request: InitializeRequest, timing: Timing) -> InitializeReply:
    """Write version 0 of the parameters. The reply has their sizes, and the layout of named tensors on them."""
    loaded = jobs.get(request.spec, request.manifest)
    model, sizes = loaded.model, loaded.sizes
    vector = np.zeros(sizes.total, np.float32)
    vector[: len(model.values)] = model.values
    for row, slot in enumerate(loaded.slots if loaded.facts.averaged_state else ()):
        start = len(model.values) + row * sizes.parameters
        vector[start : start + sizes.parameters] = optimizers.initial(loaded.settings, slot)
    metadata = Sums(0, {}, model.dump_integers()).to_metadata()
    del metadata["weight"]
    try:
        ranges = structure.shard_ranges(sizes.total, request.shards, sizes.block)
    except ValueError as error:
        raise SpecError([("spec.merge.shards", str(error))]) from error
    with timing.phase("write"):
        for key, (start, stop) in zip(request.outputs, ranges, strict=True):
            store.create(key, contribution.encode(vector[start:stop], metadata), durable=True)
    return InitializeReply(
        done=True,
        sizes=sizes,
        slots=list(loaded.slots),
        layout=[entry.to_json() for entry in model.layout],
        **timing.report(),
    )


def train(
    store: Store, channels: Channels, jobs: JobCache, request: TrainRequest, timing: Timing
) -> TrainReply:
    """Compute and write a contribution, or a cursor if the time limit comes first."""
    with timing.phase("read"):
        loaded = jobs.get(request.spec, request.manifest)
        loaded.hold(request.params, request.sizes)
        loaded.model.module.train()
    work = LocalSteps(loaded, request) if loaded.facts.keeps_base else Gradient(loaded, request)
    with timing.phase("read"):
        if request.cursor is not None:
            work.resume(store, request.cursor)
        elif request.state is not None:
            work.take_state(store, request.state)
            timing.bytes["read"] += work.state_bytes
    for micro in work.remaining():
        if not timing.may_start():
            key = keys.cursor(request.outputs[0].key, micro)
            with timing.phase("write"):
                work.save(store, key, micro)
            return TrainReply(done=False, cursor=key, **timing.report())
        work.compute(micro, timing)
    vector, sums = work.finish()
    metadata = sums.to_metadata()
    with timing.phase("write"):
        if request.state_output is not None:
            work.keep_state(store, request.state_output)
            timing.bytes["written"] += work.state_bytes
        for ref in request.outputs:
            write(channels, ref, vector[ref.start : ref.stop], metadata)
    timing.bytes["written"] += vector.nbytes
    return TrainReply(done=True, samples=sums.weight, losses=_finite_or_none(sums), **timing.report())


def _finite_or_none(sums: Sums) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in sums.losses.items()}


class Gradient:
    """Computes Σ gradient over the rank's samples, micro-batch by micro-batch; autograd adds in place."""

    def __init__(self, loaded: LoadedJob, request: TrainRequest) -> None:
        self.loaded, self.request = loaded, request
        data = loaded.job.spec.data
        self.size = data.micro_batch_size or data.batch_size
        self.order = loaded.order(request.epoch)
        self.batches = self.cut()
        self.first = 0
        self.taken = 0
        """For ranks with their own optimiser state: the number of local steps taken before."""
        self.loss = 0.0
        self.figures: dict[str, float] = {}
        """Sums of what the task measures beside the loss."""
        loaded.model.zero_gradient()

    def cut(self) -> list[tuple[int, int]]:
        """The ranges of the micro-batches in the epoch's order."""
        begin, end = self.request.begin, self.request.end
        return micro_batches(begin, end, end - begin, self.size)

    def remaining(self) -> Iterator[int]:
        return iter(range(self.first, len(self.batches)))

    def compute(self, micro: int, timing: Timing) -> None:
        """Run forward and backward for a micro-batch; its gradient is added in place."""
        loaded, request = self.loaded, self.request
        with timing.phase("read"):
            features, targets = loaded.reader.batch(self.order, *self.batches[micro])
        with timing.phase("compute"):
            # torch.manual_seed would also seed accelerators that do not exist, which takes 0.3 ms.
            torch.default_generator.manual_seed(micro_seed(loaded.seed, request.version, request.rank, micro))
            outputs = loaded.model.module(torch.from_numpy(features))
            loss, figures = loaded.loss(outputs, torch.from_numpy(targets))
            loss.backward()
            self.loss += float(loss.detach())
            for name, value in figures.items():
                self.figures[name] = self.figures.get(name, 0.0) + value

    def finish(self) -> tuple[np.ndarray, Sums]:
        """The contribution's vector and scalars."""
        model, samples = self.loaded.model, self.request.end - self.request.begin
        model.check_gradient()
        model.collect_buffers()
        np.multiply(
            model.values[model.parameters :], np.float32(samples), out=model.output[model.parameters :]
        )
        return model.output, self.sums(samples)

    def sums(self, samples: int) -> Sums:
        return Sums(samples, {"loss": self.loss, **self.figures}, self.loaded.model.dump_integers())

    @property
    def state_bytes(self) -> int:
        """The size of a rank's own state in bytes."""
        return 0

    def take_state(self, store: Store, key: str) -> None:
        """Load the rank's state. Raises CorruptObject, because this algorithm has none."""
        raise CorruptObject(f"the request names the state {key}, and ranks of this algorithm have none")

    def keep_state(self, store: Store, key: str) -> None:
        """Write the state with which the rank's next step continues."""
        raise CorruptObject(f"the request asks for the state {key}, and ranks of this algorithm have none")

    def cursor_metadata(self) -> dict[str, str]:
        """The metadata of a cursor, in addition to vectors and sums."""
        return {}

    def state(self) -> list[np.ndarray]:
        """The vectors of a cursor: the gradient so far, and buffers."""
        model = self.loaded.model
        model.collect_buffers()
        return [model.gradient, model.values[model.parameters :]]

    def save(self, store: Store, key: str, done: int) -> None:
        """Write a cursor with everything that the rest of the work needs."""
        vector = np.concatenate([piece.reshape(-1) for piece in self.state()])
        metadata = {**self.sums(1).to_metadata(), **self.cursor_metadata(), "done": str(done)}
        store.create(key, contribution.encode(vector, metadata))

    def resume(self, store: Store, key: str) -> None:
        """Continue from a cursor of `save`."""
        pieces = self.state()
        vector = np.empty(sum(piece.size for piece in pieces), np.float32)
        metadata = contribution.read_vector(store, key, vector)
        start = 0
        for piece in pieces:
            np.copyto(piece, vector[start : start + piece.size].reshape(piece.shape))
            start += piece.size
        sums = Sums.from_metadata(metadata, key)
        self.figures = dict(sums.losses)
        self.loss = self.figures.pop("loss")
        self.loaded.model.load_integers(metadata.get("integers", ""))
        self.first = int(metadata["done"])
        self.taken = int(metadata.get("taken", 0))


class LocalSteps(Gradient):
    """Takes local optimiser steps. The contribution is the change of the model, weighted by samples."""

    def __init__(self, loaded: LoadedJob, request: TrainRequest) -> None:
        self.batch = loaded.job.spec.data.batch_size
        super().__init__(loaded, request)
        count = loaded.model.parameters
        self._kept, loaded.rank_state = loaded.rank_state, None
        if loaded.facts.averaged_state:
            self.slots = loaded.base[len(loaded.model.values) :].copy().reshape(-1, count)
        elif self._kept is not None and self._kept.key == request.state:
            self.slots = self._kept.slots
        else:
            self.slots = np.empty((len(loaded.slots), count), np.float32)
            for row, slot in zip(self.slots, loaded.slots, strict=True):
                row.fill(optimizers.initial(loaded.settings, slot))

    def cut(self) -> list[tuple[int, int]]:
        return micro_batches(self.request.begin, self.request.end, self.batch, self.size)

    def compute(self, micro: int, timing: Timing) -> None:
        """Run a micro-batch, and make the local update if it completes a batch."""
        super().compute(micro, timing)
        _, stop = self.batches[micro]
        position = stop - self.request.begin
        if position % self.batch == 0 or stop == self.request.end:
            first = (position - 1) // self.batch * self.batch
            with timing.phase("update"):
                self._update(first // self.batch, position - first)

    def _update(self, local_step: int, samples: int) -> None:
        loaded, request, model = self.loaded, self.request, self.loaded.model
        optimizer = loaded.job.spec.optimizer
        model.check_gradient()
        gradient = model.gradient
        norms = optimizers.squared_norms(gradient, request.sizes.block)
        scale = optimizers.clip_scale(norms, samples, optimizer.clip_norm)
        np.multiply(gradient, np.float32(scale / samples), out=gradient)
        step = request.schedule_step + local_step
        rate = schedules.learning_rate(
            optimizer.learning_rate,
            loaded.schedule,
            step,
            request.schedule_total,
            1.0 if request.schedule_factor is None else request.schedule_factor,
        )
        optimizers.apply(
            loaded.settings,
            params=model.values[: model.parameters],
            grads=gradient,
            state=list(self.slots),
            learning_rate=rate,
            step=(step if loaded.facts.averaged_state else self.taken + local_step) + 1,
            grouping=loaded.grouping,
        )
        model.zero_gradient()

    @property
    def state_bytes(self) -> int:
        return self.slots.nbytes

    def take_state(self, store: Store, key: str) -> None:
        if self._kept is not None and self._kept.key == key:
            self.taken = self._kept.taken
            return
        metadata = contribution.read_vector(store, key, self.slots.reshape(-1))
        self.taken = int(metadata["taken"])

    def keep_state(self, store: Store, key: str) -> None:
        steps = -(-(self.request.end - self.request.begin) // self.batch)
        taken = self.taken + steps
        store.create(key, contribution.encode(self.slots.reshape(-1), {"taken": str(taken)}), durable=True)
        self.loaded.rank_state = RankState(key, self.slots, taken)

    def cursor_metadata(self) -> dict[str, str]:
        return {"taken": str(self.taken)}

    def finish(self) -> tuple[np.ndarray, Sums]:
        model, samples = self.loaded.model, self.request.end - self.request.begin
        model.collect_buffers()
        weight, count, held = np.float32(samples), model.parameters, len(model.values)
        output = model.output
        np.subtract(model.values[:count], self.loaded.base[:count], out=output[:count])
        np.multiply(output[:count], weight, out=output[:count])
        np.multiply(model.values[count:], weight, out=output[count:held])
        if self.loaded.facts.averaged_state:
            np.multiply(self.slots.reshape(-1), weight, out=output[held:])
        return output, self.sums(samples)

    def state(self) -> list[np.ndarray]:
        self.loaded.model.collect_buffers()
        return [self.loaded.model.gradient, self.loaded.model.values, self.slots]


def micro_seed(seed: int, version: int, rank: int, micro: int) -> int:
    """The seed of a micro-batch's random numbers, which depends on nothing else."""
    name = json.dumps([seed, version, rank, micro]).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") >> 1
