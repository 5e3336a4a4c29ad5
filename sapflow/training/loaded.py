"""The warm state of an instance for a job: its model on flat vectors, its data, and the version that it holds."""

import base64
import hashlib
import importlib
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from sapflow import models
from sapflow.algorithms import optimizers, schedules
from sapflow.algorithms.tensors import Tensors
from sapflow.algorithms.worker import RankState
from sapflow.data.blocks import Manifest
from sapflow.data.dealing import Share
from sapflow.data.order import Orders, Piece
from sapflow.data.sampler import Reader
from sapflow.errors import CorruptObject, InputsChanged, SpecError
from sapflow.messages.documents import Document
from sapflow.messages.replies import DataReads
from sapflow.messages.requests import Slice, TrainRequest
from sapflow.messages.vectors import Part, Sizes
from sapflow.models.examine import FROZEN_CHANGED
from sapflow.objects import contribution, keys
from sapflow.objects.documents import read_document
from sapflow.objects.safetensor import aligned
from sapflow.objects.stores.protocol import Opens, Store
from sapflow.planning.extent import Extent
from sapflow.quantities.memory import parse_quantity
from sapflow.spec import resolved, source_code
from sapflow.spec.training_job import TrainingJob
from sapflow.tasks.torch.losses import TrainingLoss
from sapflow.text import parse_json
from sapflow.timing import Timing, anonymous_memory
from sapflow.training.flat import FlatModel

KEPT_JOBS = 8
KEPT_BYTES = 32 << 20
"""What the jobs that an instance keeps beside the one that it serves may hold together: its memory is for one."""
MEMORY_SHARE = 0.9
"""What a job's process may fill of its memory limit with data that it keeps: allocators need the rest."""


class LoadedJob:
    """The model and data of a job in this process. All of it can be rebuilt from the store."""

    def __init__(self, store: Store, job: TrainingJob, manifest: Manifest, data_prefix: str) -> None:
        spec = job.spec
        self.store, self.job, self.manifest = store, job, manifest
        self.seed = spec.algorithm.seed
        self.modules = source_code.of_this_process(spec.model.code)
        """The SHA-256 of each module of the user's own."""
        module = models.build(
            spec.model.name or str(spec.model.entrypoint),
            spec.model.args,
            inputs=manifest.shape,
            outputs=manifest.outputs,
            seed=self.seed,
            env=spec.model.env,
        )
        self.facts = spec.algorithm.facts
        self.settings = job.optimizer_settings
        self.slots = optimizers.slots(self.settings)
        extent = Extent.of(job, manifest.train_samples)
        self.schedule = job.schedule(extent.updates_per_epoch)
        self.model = FlatModel(module, extra=len(self.slots) if self.facts.averaged_state else 0)
        self.grouping = job.grouping([entry.to_json() for entry in self.model.layout])
        self.task = manifest.task_for(scale_target=bool(spec.data.scale_target))
        self.loss = TrainingLoss(self.task, self.task.loss(spec.model))
        self.reader = Reader(store, data_prefix, manifest)
        self.orders = Orders(manifest.train, self.seed, fixed=spec.data.partition == "Fixed")
        self._settled = False
        self._next: list[Piece] = []
        self._held: tuple[str, ...] = ()
        self._base = aligned(len(self.model.output)) if self.facts.keeps_base else None
        self._tail = np.empty(0, np.float32)
        self._raw = b""
        self._held_frozen: tuple[str, ...] = ()
        self._frozen_sum = 0
        self.tensors = self.model.tensors
        """The tensors as the loaded version counts their updates."""
        self.rank_state: RankState | None = None
        """None while a call changes it, so that a cancelled call leaves none."""

    @property
    def held_bytes(self) -> int:
        """Bytes of the model's vectors and of the data that is kept."""
        base = 0 if self._base is None else self._base.nbytes
        state = 0 if self.rank_state is None else self.rank_state.slots.nbytes
        vectors = (
            self.model.values.nbytes + self.model.output.nbytes + self.model.frozen.nbytes + base + state
        )
        return vectors + self.reader.cached_bytes

    def data_reads(self) -> DataReads:
        """What was read of the data's blocks since the last call of this."""
        taken = self.reader.counter.take()
        return DataReads(bytes=taken.bytes, seconds=taken.seconds, requests=taken.requests)

    @property
    def sizes(self) -> Sizes:
        count = self.model.parameters
        return Sizes(
            parameters=count,
            averaged=len(self.model.output) - count,
            block=optimizers.block_size(count),
            frozen=len(self.model.frozen),
        )

    @property
    def vectors(self) -> FlatModel:
        """The model on flat vectors, as algorithms know it."""
        return self.model

    @property
    def batch_size(self) -> int:
        return self.job.spec.data.batch_size

    @property
    def micro_size(self) -> int:
        """Samples of a micro-batch, at most."""
        return self.job.spec.data.micro_batch_size or self.batch_size

    @property
    def clip_norm(self) -> float | None:
        return self.job.spec.optimizer.clip_norm

    def learning_rate(self, request: TrainRequest, step: int) -> float:
        """The learning rate of local step `step` of the whole job."""
        factor = 1.0 if request.schedule_factor is None else request.schedule_factor
        base, total = self.job.spec.optimizer.learning_rate, request.schedule_total
        return schedules.learning_rate(base, self.schedule, step, total, factor)

    def backward(
        self, request: TrainRequest, micro: int, begin: int, end: int, timing: Timing
    ) -> tuple[float, Mapping[str, float]]:
        """Forward and backward of a micro-batch; its gradient is added in place. The loss, and the task's other sums
        over its samples."""
        with timing.phase("data"):
            where = self.orders.locate(request.epoch, _part(request.slices, begin, end))
            features, targets = self.reader.batch(where)
            if self._settled:
                self._read_ahead()
        with timing.phase("compute"):
            # torch.manual_seed would also seed accelerators that do not exist, which takes 0.3 ms.
            torch.default_generator.manual_seed(micro_seed(self.seed, request.version, request.rank, micro))
            outputs = self.model.module(torch.from_numpy(features))
            loss, figures = self.loss(outputs, torch.from_numpy(targets))
            loss.backward()
            return float(loss.detach()), figures

    def serve(self, request: TrainRequest) -> None:
        """A call for a rank begins: what it needs stays warm, and what it needs next may be read ahead."""
        now = self.orders.pieces(request.epoch, _shares(request.slices))
        ahead = request.ahead
        self._next = [] if ahead is None else self.orders.pieces(ahead.epoch, _shares(ahead.slices))
        self.reader.serve(request.rank, now, self._next)

    def served(self, memory_bytes: int | None, *, runs_on: bool) -> None:
        """A call for a rank ends, in a process that may have `memory_bytes`; None: as much as the job says.

        `runs_on`: the process also runs between calls, so what is read ahead may come in later.
        """
        limit = memory_bytes or parse_quantity(self.job.spec.memory.worker)
        used = anonymous_memory()
        if used is not None and (self.reader.lacks_room or not self._settled):
            kept = self.reader.most_cached_bytes if self.store.remote else 0
            self.reader.keep_up_to(max(0, int(MEMORY_SHARE * limit) - (used - kept)))
        self._settled = True
        if runs_on:
            self._read_ahead()
        else:
            self.reader.stop_reading_ahead()

    def _read_ahead(self) -> None:
        # Not before the first call has shown how much memory batches leave.
        pieces, self._next = self._next, []
        self.reader.read_ahead(pieces)

    def hold(self, parts: list[Part], sizes: Sizes, carried: Opens | None = None) -> None:
        """Load a version's parameters and buffers into the model, unless they are loaded already.

        `carried` has the objects of what is trained where the request carries them. They do not stay loaded under their
        keys: until a commit names them, another driver's may come to stand there.
        """
        if sizes != self.sizes:
            raise CorruptObject(f"the request's sizes {sizes} are not the model's {self.sizes}")
        name = tuple(part.key for part in parts)
        self.model.restore_buffers()
        values, count = self.model.values, self.model.parameters
        if name != self._held or carried is not None:
            self._held = ()
            target = self._base if self._base is not None else values
            metadata = contribution.read_range(carried or self.store, parts, 0, sizes.total, target)
            self.tensors = Tensors.from_metadata(metadata)
            self._raw = base64.b64decode(metadata.get("raw", ""))
            self._tail = target[count:].copy() if self._base is None else target[count:]
            self._held = name if carried is None else ()
        if self._base is not None:
            np.copyto(values, self._base[: len(values)])
        else:
            np.copyto(values[count:], self._tail)
        self.model.hold_raw(self._raw)
        self._hold_frozen(parts, sizes)

    def _hold_frozen(self, parts: list[Part], sizes: Sizes) -> None:
        """Load the parameters without gradients, which all versions share, unless they are loaded already."""
        name = tuple(part.key for part in parts if part.start >= sizes.total)
        if name != self._held_frozen:
            self._held_frozen = ()
            contribution.read_range(self.store, parts, sizes.total, sizes.with_frozen, self.model.frozen)
            self._frozen_sum = self.model.frozen_sum()
            self._held_frozen = name

    def check_frozen(self) -> None:
        """Raises SpecError if the model's own code has changed parameters without gradients, which nobody carries."""
        if self._held_frozen and self.model.frozen_sum() != self._frozen_sum:
            self._held_frozen = ()
            raise SpecError([("spec.model", FROZEN_CHANGED)])

    @property
    def buffers_before(self) -> np.ndarray:
        """The loaded version's averaged buffers, float32 [B], unchanged by training."""
        return self._tail[: len(self.model.values) - self.model.parameters]

    @property
    def base(self) -> np.ndarray:
        """For algorithms that need it: the loaded version's vector, float32 [P + A], unchanged by training."""
        assert self._base is not None
        return self._base


def _shares(slices: Sequence[Slice]) -> list[Share]:
    return [Share(*each.range, each.window, each.begin, each.end) for each in slices]


def _part(slices: Sequence[Slice], begin: int, end: int) -> list[Share]:
    """Samples `begin` to `end` of all slices, one after the other."""
    found, at = [], 0
    for share in _shares(slices):
        first, stop = max(begin, at) - at, min(end, at + share.samples) - at
        if stop > first:
            found.append(replace(share, begin=share.begin + first, end=share.begin + stop))
        at += share.samples
    return found


def micro_seed(seed: int, version: int, rank: int, micro: int) -> int:
    """The seed of a micro-batch's random numbers, which depends on nothing else."""
    name = json.dumps([seed, version, rank, micro]).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little") >> 1


def compute_with(threads: int) -> None:
    """Let this process compute with so many threads, and by deterministic algorithms only.

    To be called before every call's work: other jobs that the process serves have other numbers of threads, and with
    those the bits would be others; their models' code may have changed the rest.
    """
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    # use_deterministic_algorithms would set the same flag, but also load a compiler, which takes 80 MiB and a second.
    torch.set_deterministic_debug_mode("error")
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010 (no stub knows it)


class JobCache:
    """A cache of the jobs that an instance served last."""

    def __init__(self, store: Store, *, memory_bytes: int | None = None, runs_on: bool = False) -> None:
        """`memory_bytes` is what this process may have, None: what a job says; `runs_on`: it runs between calls too."""
        self._store, self.memory_bytes, self.runs_on = store, memory_bytes, runs_on
        self._jobs: OrderedDict[tuple[Document, Document], LoadedJob] = OrderedDict()

    def get(self, spec: Document, manifest: Document, code: str | None = None) -> LoadedJob:
        """The job of this spec and this data manifest; this process now computes as it asks.

        `code` is the fingerprint of the code that made version 0, if that is known. Raises AlteredObject, and
        InputsChanged if the code is another one here.
        """
        name = (spec, manifest)
        loaded = self._jobs.pop(name, None)
        self._make_room()
        if loaded is None:
            job = resolved.read(read_document(self._store, spec), keys.prefix_of(spec.key)).job
            described = Manifest.from_json(read_document(self._store, manifest))
            importlib.invalidate_caches()
            compute_with(job.spec.threads)
            loaded = LoadedJob(self._store, job, described, manifest.key.removesuffix("manifest.json"))
        else:
            compute_with(loaded.job.spec.threads)
        self._jobs[name] = loaded
        if code is not None and code != source_code.fingerprint(loaded.modules):
            self._refuse(loaded, keys.prefix_of(spec.key))
        return loaded

    def _refuse(self, loaded: LoadedJob, prefix: str) -> None:
        """Raise InputsChanged, which names the modules that differ from those of commit 0."""
        first = parse_json(bytes(self._store.read(keys.commit(prefix, 0))))
        known = first.get("code") if isinstance(first, dict) else None
        named = ", ".join(source_code.differences(known or {}, loaded.modules)[:5])
        raise InputsChanged(
            f"the code of {', '.join(loaded.job.spec.model.code)} is not what version 0 was made with: {named}. The "
            "two would be mixed in one model. Put the code back as it was, or train from the beginning: `sapflow run "
            "--again` (in Python: again=True), in a cluster a job of another name"
        )

    def _make_room(self) -> None:
        """Drop the jobs that were served longest ago, until what is left may stay beside the one to be served."""
        while (
            len(self._jobs) >= KEPT_JOBS or sum(each.held_bytes for each in self._jobs.values()) > KEPT_BYTES
        ):
            self._jobs.popitem(last=False)
