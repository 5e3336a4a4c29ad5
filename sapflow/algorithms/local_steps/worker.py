"""What a worker computes: local optimiser steps. The contribution is what they changed, weighted by samples."""

from collections.abc import Mapping

import numpy as np

from sapflow.algorithms import optimizers, tensors
from sapflow.algorithms.worker import AlgorithmWorker, Engine, RankState
from sapflow.messages.requests import TrainRequest
from sapflow.objects import contribution
from sapflow.objects.stores.digested import create_digested
from sapflow.objects.stores.protocol import Store
from sapflow.objects.sums import Sums
from sapflow.quantities.batches import micro_batches
from sapflow.timing import Timing


class Worker(AlgorithmWorker):
    """The worker's side. Its optimiser state starts at zero, travels with the model, or is the rank's own."""

    def __init__(self, engine: Engine, request: TrainRequest) -> None:
        self.batch = engine.batch_size
        super().__init__(engine, request)
        self.taken = 0
        """Of ranks with a state of their own: the number of local steps taken before."""
        self._kept, engine.rank_state = engine.rank_state, None
        self.slots = self._first_slots()
        averaged = engine.facts.averaged_state
        self._base_missed = engine.tensors.missed if averaged else np.zeros_like(engine.tensors.missed)
        self.missed = self._base_missed.copy()
        """In how many updates each tensor had no gradient, int64 [tensors]: it has a number of updates of its own."""

    def _first_slots(self) -> np.ndarray:
        """The optimiser's state to begin with, float32 [slots, P], to be changed in place."""
        engine, count = self.engine, self.vectors.parameters
        if engine.facts.averaged_state:
            return engine.base[len(self.vectors.values) :].copy().reshape(-1, count)
        if self._kept is not None and self._kept.key == self.request.state:
            return self._kept.slots
        slots = np.empty((len(engine.slots), count), np.float32)
        for row, slot in zip(slots, engine.slots, strict=True):
            row.fill(optimizers.initial(engine.settings, slot))
        return slots

    def cut(self) -> list[tuple[int, int]]:
        return micro_batches(self.samples, self.batch, self.engine.micro_size)

    def compute(self, micro: int, timing: Timing) -> None:
        """Compute a micro-batch, and make the local update if it completes a batch."""
        super().compute(micro, timing)
        _, position = self.batches[micro]
        if position % self.batch == 0 or position == self.samples:
            first = (position - 1) // self.batch * self.batch
            with timing.phase("update"):
                self._update(first // self.batch, position - first)

    def _update(self, local_step: int, samples: int) -> None:
        engine, request, vectors = self.engine, self.request, self.vectors
        vectors.check_gradient()
        gradient = vectors.gradient
        norms = optimizers.squared_norms(gradient, request.sizes.block)
        scale = optimizers.clip_scale(norms, samples, engine.clip_norm)
        np.multiply(gradient, np.float32(scale / samples), out=gradient)
        step = request.schedule_step + local_step
        number = (step if engine.facts.averaged_state else self.taken + local_step) + 1
        used = vectors.used()
        numbers = None
        if self.missed.any() or not used.all():
            numbers = tensors.ranges(
                vectors.stops, np.where(used, number - self.missed, 0), 0, vectors.parameters
            )
        self.missed += ~used
        optimizers.apply(
            engine.settings,
            params=vectors.values[: vectors.parameters],
            grads=gradient,
            state=list(self.slots),
            learning_rate=engine.learning_rate(request, step),
            step=number,
            grouping=engine.grouping,
            numbers=numbers,
        )
        vectors.zero_gradient()

    def finish(self) -> tuple[np.ndarray, Sums]:
        vectors = self.vectors
        vectors.collect_buffers()
        weight, count, held = np.float32(self.samples), vectors.parameters, len(vectors.values)
        output = vectors.output
        np.subtract(vectors.values[:count], self.engine.base[:count], out=output[:count])
        np.multiply(output[:count], weight, out=output[:count])
        np.multiply(vectors.values[count:], weight, out=output[count:held])
        if self.engine.facts.averaged_state:
            np.multiply(self.slots.reshape(-1), weight, out=output[held:])
        if not self.engine.facts.averaged_state:
            return output, self.sums(self.samples)
        taken = -(-self.samples // self.batch)
        return output, self.sums(self.samples, taken, taken - (self.missed - self._base_missed))

    def state(self) -> list[np.ndarray]:
        self.vectors.collect_buffers()
        return [self.vectors.gradient, self.vectors.values, self.slots]

    def cursor_metadata(self) -> dict[str, str]:
        return {"steps": str(self.taken), "missed": tensors.counted(self.missed)}

    def take_cursor_metadata(self, metadata: Mapping[str, str]) -> None:
        self.taken, self.missed = int(metadata["steps"]), tensors.read_counted(metadata["missed"])

    @property
    def state_bytes(self) -> int:
        return self.slots.nbytes

    def take_state(self, store: Store, key: str) -> None:
        if self._kept is not None and self._kept.key == key:
            self.taken, self.missed = self._kept.taken, self._kept.missed
            return
        metadata = contribution.read_vector(store, key, self.slots.reshape(-1))
        self.taken, self.missed = int(metadata["taken"]), tensors.read_counted(metadata["missed"])

    def keep_state(self, store: Store, key: str) -> str:
        taken = self.taken + -(-self.samples // self.batch)
        metadata = {"taken": str(taken), "missed": tensors.counted(self.missed)}
        # Where another writer was first, its object counts, so that this instance keeps none of its own.
        content = contribution.encode(self.slots.reshape(-1), metadata)
        (written,) = create_digested(store, [(key, content)], durable=True)
        if written.created:
            self.engine.rank_state = RankState(key, self.slots, taken, self.missed)
        return written.sha256
