"""The worker's side of an algorithm: what a rank makes of its samples. It knows the model by flat vectors alone.

What computes gradients is an `Engine`; the one of torch is `sapflow.training.loaded.LoadedJob`. Algorithms are numpy.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sapflow.algorithms.facts import Facts
from sapflow.algorithms.optimizers import Grouping, OptimizerSettings
from sapflow.algorithms.tensors import Tensors
from sapflow.errors import CorruptObject
from sapflow.messages.requests import TrainRequest
from sapflow.objects import contribution
from sapflow.objects.stores.protocol import Store
from sapflow.objects.sums import Sums
from sapflow.timing import Timing


@dataclass(frozen=True, slots=True)
class RankState:
    """A rank's own optimiser state as this instance last wrote it under `key`, after `taken` local steps."""

    key: str
    slots: np.ndarray
    taken: int
    missed: np.ndarray
    """In how many of them each tensor had no gradient, int64 [tensors]."""


class Vectors(Protocol):
    """A model on flat float32 vectors."""

    parameters: int
    """P, the number of trained values."""
    values: np.ndarray
    """[P + B]: parameters, then float buffers."""
    output: np.ndarray
    """[P + B + …], what a contribution is written from."""
    gradient: np.ndarray
    """[P], the beginning of `output`: backward passes add to it."""

    def zero_gradient(self) -> None: ...

    def check_gradient(self) -> None:
        """Raises SpecError where the model keeps its gradients elsewhere."""

    def collect_buffers(self) -> None:
        """Bring float buffers home that the model replaced instead of changing them in place."""

    stops: np.ndarray
    """Where each trained tensor that has elements ends, int64 [tensors]."""

    def used(self) -> np.ndarray:
        """Of each of these tensors, whether it has got a gradient since `zero_gradient`, bool [tensors]."""

    def note_used(self, used: np.ndarray) -> None:
        """Count tensors as used that were so before a cursor."""

    def changed_buffers(self, before: np.ndarray) -> np.ndarray | None:
        """Of each float buffer, whether it differs from `before` (float32 [B]), bool [buffers]. None: each of them."""

    def raw(self) -> bytes:
        """The bytes of the buffers that are not averaged."""

    def changed_raw(self) -> bytes:
        """The same, or nothing where they are those of the version that is held."""

    def load_raw(self, content: bytes) -> None:
        """Set these buffers to what `raw` gave."""


class Engine(Protocol):
    """One job's model, data and settings in one process: what an algorithm computes with."""

    facts: Facts
    settings: OptimizerSettings
    grouping: Grouping | None
    tensors: Tensors
    """The model's tensors, as the version that the request names counts their updates."""
    rank_state: RankState | None
    """Taken out by the call that changes it: a call that is given up leaves none."""

    @property
    def vectors(self) -> Vectors: ...

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the optimiser's state vectors."""

    @property
    def base(self) -> np.ndarray:
        """Of algorithms that keep it: the version that the request names, float32 [P + A], unchanged by training."""

    @property
    def buffers_before(self) -> np.ndarray:
        """The version's averaged buffers, float32 [B], unchanged by training."""

    @property
    def batch_size(self) -> int: ...

    @property
    def micro_size(self) -> int:
        """Samples of a micro-batch, at most."""

    @property
    def clip_norm(self) -> float | None: ...

    def learning_rate(self, request: TrainRequest, step: int) -> float:
        """Of local step `step` of the whole job."""

    def backward(
        self, request: TrainRequest, micro: int, begin: int, end: int, timing: Timing
    ) -> tuple[float, Mapping[str, float]]:
        """Forward and backward of the request's samples from `begin` to `end`, counted from 0, its micro-batch number
        `micro`; the gradient of their summed loss is added in place. The loss, and the task's other sums."""


class AlgorithmWorker(ABC):
    """One rank's work of one step: micro-batch by micro-batch, with a cursor between any two of them."""

    def __init__(self, engine: Engine, request: TrainRequest) -> None:
        """Prepare for the request's samples."""
        self.engine, self.request, self.vectors = engine, request, engine.vectors
        self.batches = self.cut()
        """Ranges of the micro-batches among the request's samples."""
        self.first = 0
        """The first micro-batch that is left."""
        self.loss = 0.0
        self.figures: dict[str, float] = {}
        """Sums of what the task measures beside the loss."""
        self.vectors.zero_gradient()

    @property
    def samples(self) -> int:
        return self.request.samples

    @abstractmethod
    def cut(self) -> list[tuple[int, int]]:
        """The micro-batches of the request's samples."""

    @abstractmethod
    def finish(self) -> tuple[np.ndarray, Sums]:
        """The contribution's vector and scalars, once all micro-batches are computed."""

    @abstractmethod
    def state(self) -> list[np.ndarray]:
        """The vectors that a cursor holds; what is read back is written into them."""

    def compute(self, micro: int, timing: Timing) -> None:
        """Compute one micro-batch."""
        loss, figures = self.engine.backward(self.request, micro, *self.batches[micro], timing)
        self.loss += loss
        for name, value in figures.items():
            self.figures[name] = self.figures.get(name, 0.0) + value

    def sums(self, samples: int, taken: int = 1, counts: np.ndarray | None = None) -> Sums:
        """The contribution's scalars. `counts`: in how many of `taken` updates each tensor had a gradient."""
        return Sums(
            samples,
            {"loss": self.loss, **self.figures},
            self.vectors.changed_raw(),
            taken,
            None if counts is None or (counts == taken).all() else counts,
            self.vectors.changed_buffers(self.engine.buffers_before),
        )

    def save(self, store: Store, key: str, done: int) -> None:
        """Write a cursor with everything that the rest of the work needs."""
        vector = np.concatenate([piece.reshape(-1) for piece in self.state()])
        used = self.vectors.used().astype(np.int64)
        metadata = {**self.sums(1, 1, used).to_metadata(), **self.cursor_metadata(), "done": str(done)}
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
        if sums.raw:
            self.vectors.load_raw(sums.raw)
        self.vectors.note_used(
            np.ones(len(self.vectors.stops), bool) if sums.counts is None else sums.counts > 0
        )
        self.first = int(metadata["done"])
        self.take_cursor_metadata(metadata)

    def cursor_metadata(self) -> dict[str, str]:
        """What a cursor holds in addition to vectors and sums."""
        return {}

    def take_cursor_metadata(self, metadata: Mapping[str, str]) -> None:
        """Read back what `cursor_metadata` gave."""
        return

    @property
    def state_bytes(self) -> int:
        """The size of a rank's own state in bytes."""
        return 0

    def take_state(self, store: Store, key: str) -> None:
        """Load the rank's state. Raises CorruptObject where ranks of this algorithm have none."""
        raise CorruptObject(f"the request names the state {key}, and ranks of this algorithm have none")

    def keep_state(self, store: Store, key: str) -> str:
        """Write the state with which the rank's next step continues; its SHA-256. Raises CorruptObject like
        `take_state`."""
        raise CorruptObject(f"the request asks for the state {key}, and ranks of this algorithm have none")
