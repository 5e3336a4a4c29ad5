"""The root: sums the last level, applies the update, and writes a new version of one range of the parameters.

With several shards it has two phases: `sum` writes the total of its range and the squared norms of fixed blocks;
`apply` gets all norms and updates. So clipping and the check for values that are not finite apply to the whole
gradient, and the weights are bit-identical for every number of shards.

What was updated is checked before it is written: an update that overflows is not made. With several shards the driver
counts a step only if every shard's was made.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from sapflow.algorithms import optimizers
from sapflow.algorithms.merge import Cursor, Workspace, read, sum_children, write
from sapflow.algorithms.optimizers import Group, Grouping, OptimizerSettings
from sapflow.algorithms.tensors import Tensors
from sapflow.channels.channels import Channels
from sapflow.errors import CorruptObject
from sapflow.messages.refs import Ref
from sapflow.messages.replies import RootReply
from sapflow.messages.requests import RootRequest, Update
from sapflow.messages.vectors import Part
from sapflow.objects import contribution
from sapflow.objects.safetensor import aligned
from sapflow.objects.stores.digested import create_digested, sha256s
from sapflow.objects.stores.protocol import Buffer, Store
from sapflow.objects.sums import Sums
from sapflow.timing import Timing

_CHECKED = 1 << 16
"""Number of averaged values that are checked at once."""
KEPT = 4
"""Number of cached vectors: parameters, optimiser state, a total, and one to spare."""


class _Kept(NamedTuple):
    vector: np.ndarray
    metadata: dict[str, str]
    sha256: str | None
    """Of the object that somebody else is to write; None of one that stands."""


class Warm:
    """The cache of a root between invocations. It is keyed by object, so nothing is lost if the process is killed."""

    def __init__(self) -> None:
        self.workspace = Workspace()
        self._vectors: dict[tuple[str, ...], _Kept] = {}

    def take(
        self,
        store: Store,
        parts: list[Part],
        start: int,
        stop: int,
        rows: int,
        timing: Timing,
        sha256: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[np.ndarray, dict[str, str]]:
        """A range of a vector, which the caller may change in place. A cached vector is handed out only once.

        `sha256` has what is known of the objects in the store: a vector whose object never came to stand there does not
        count.
        """
        name = (str(start), str(stop), *(part.key for part in parts))
        kept = self._vectors.pop(name, None)
        if kept is not None and kept.vector.size == rows * (stop - start):
            stands = kept.sha256 is None or kept.sha256 == sha256.get(parts[0].key)
            if stands:
                return kept.vector, kept.metadata
        vector = aligned(rows * (stop - start))
        metadata = contribution.read_range(store, parts, start, stop, vector, rows=rows)
        timing.bytes["read"] += vector.nbytes
        return vector, metadata

    def take_total(self, channels: Channels, ref: Ref) -> tuple[np.ndarray, dict[str, str]]:
        """The sum over all workers that this or another instance has written. The caller may change it in place."""
        kept = self._vectors.pop((str(ref.start), str(ref.stop), ref.key), None)
        if kept is not None and kept.vector.size == ref.count:
            return kept.vector, kept.metadata
        vector = aligned(ref.count)
        return vector, dict(read(channels, ref, vector))

    def keep(
        self,
        key: str,
        start: int,
        stop: int,
        vector: np.ndarray,
        metadata: dict[str, str],
        sha256: str | None = None,
    ) -> None:
        """Cache a vector that was written under `key`. The caller must not use it any more.

        `sha256`: that of its object, where somebody else is to write it.
        """
        self._vectors[str(start), str(stop), key] = _Kept(vector, metadata, sha256)
        while len(self._vectors) > KEPT:
            del self._vectors[next(iter(self._vectors))]


def root(store: Store, channels: Channels, request: RootRequest, warm: Warm, timing: Timing) -> RootReply:
    """Serve a phase of the root. The reply has the scalars of the step; if `finite` is false, nothing was written."""
    if request.separate:
        return _separate(store, channels, request, warm, timing)
    if request.phase == "apply":
        ref = _total(request)
        total, metadata = warm.take_total(channels, ref)
        sums = Sums.from_metadata(metadata, ref.key)
        norms = np.frombuffer(base64.b64decode(request.norms or ""), "<f8")
        written = _apply(store, channels, request, warm, timing, total, sums, norms)
        return _answer(timing, sums, norms, written is not None, written)

    total = warm.workspace.buffer("sum", request.stop - request.start)
    summed = sum_children(
        store,
        channels,
        request.children,
        total,
        timing,
        output=request.params_output if request.total is None else request.total.key,
        cursor=request.cursor,
    )
    if isinstance(summed, Cursor):
        return RootReply(
            done=False,
            cursor=summed.key,
            summed=summed.summed,
            child_latency=timing.child_latency,
            **timing.report(),
        )
    with timing.phase("merge"):
        norms = _norms(request, total)
    if request.phase == "step":
        written = _apply(store, channels, request, warm, timing, total, summed, norms)
        return _answer(timing, summed, norms, written is not None, written)

    metadata = summed.to_metadata()
    ref = _total(request)
    with timing.phase("write"):
        made = write(channels, ref, total, metadata)
    timing.bytes["written"] += total.nbytes
    if made:
        kept = aligned(len(total))
        np.copyto(kept, total)
        warm.keep(ref.key, request.start, request.stop, kept, metadata)
    return _answer(timing, summed, norms, _finite(summed, norms))


def _total(request: RootRequest) -> Ref:
    """The ref of the sum over all workers, between the two phases. Raises CorruptObject if the request has none."""
    if request.total is None:
        raise CorruptObject(
            f"the request for phase {request.phase} of version {request.version} names no total"
        )
    return request.total


def _finite(sums: Sums, norms: np.ndarray) -> bool:
    return optimizers.finite(norms) and bool(np.isfinite(list(sums.losses.values())).all())


def _answer(
    timing: Timing, sums: Sums, norms: np.ndarray, finite: bool, written: "_Written | None" = None
) -> RootReply:
    squared = float(np.sum(norms)) if finite else 0.0
    return RootReply(
        **({} if written is None else written.reply()),
        done=True,
        finite=finite,
        samples=sums.weight,
        losses=dict(sums.losses) if finite else {},
        gradient_norm=squared**0.5 / max(sums.weight, 1),
        norms=base64.b64encode(norms.tobytes()).decode(),
        child_latency=timing.child_latency,
        **timing.report(),
    )


def _norms(request: RootRequest, total: np.ndarray) -> np.ndarray:
    """Squared norms of the trained part of a range. Averaged values are not included: `_State` judges them."""
    trained = max(0, min(request.stop, request.sizes.parameters) - request.start)
    return optimizers.squared_norms(total[:trained], request.sizes.block)


def _apply(
    store: Store,
    channels: Channels,
    request: RootRequest,
    warm: Warm,
    timing: Timing,
    total: np.ndarray,
    sums: Sums,
    norms: np.ndarray,
) -> "_Written | None":
    """Update this range and write it, or have the answer carry it. None, and nothing is written, if sums or updated
    values are not finite."""
    if not _finite(sums, norms):
        return None
    state = _State(store, request, warm, timing)
    with timing.phase("update"):
        finite = state.update(total, sums, norms, request.update.learning_rate, request.update.step)
    if not finite:
        return None
    return state.send(channels) if request.carried else state.write()


def _separate(
    store: Store, channels: Channels, request: RootRequest, warm: Warm, timing: Timing
) -> RootReply:
    """Asynchronous mode: one update for each contribution, in the order of the request, and one commit for all.

    An update that overflows is taken back: the version is read again, and the contributions before it are applied anew.
    That needs no copy of parameters and state, and happens only where training diverges.
    """
    overflows: set[int] = set()
    while True:
        batch = _Batch(overflows)
        state = _State(store, request, warm, timing)
        if batch.apply(channels, request, state, warm, timing):
            break
    written = state.write()
    return RootReply(
        **written.reply(),
        done=True,
        finite=all(batch.outcomes),
        outcomes=batch.outcomes,
        samples=batch.samples,
        losses=batch.losses,
        **timing.report(),
    )


class _Batch:
    """The contributions of one request of asynchronous mode, applied one after the other."""

    def __init__(self, overflows: set[int]) -> None:
        """`overflows` are the positions of contributions that are known to overflow."""
        self._overflows = overflows
        self.outcomes: list[bool] = []
        self.samples = 0
        self.losses: dict[str, float] = {}

    def apply(
        self, channels: Channels, request: RootRequest, state: "_State", warm: Warm, timing: Timing
    ) -> bool:
        """Apply all contributions that are finite. False at the first one that overflows, which is noted."""
        vector = warm.workspace.buffer("sum", request.stop - request.start)
        for position, ref in enumerate(request.children):
            with timing.phase("merge"):
                sums = Sums.from_metadata(read(channels, ref, vector), ref.key)
                norms = _norms(request, vector)
            timing.bytes["read"] += vector.nbytes
            finite = position not in self._overflows and _finite(sums, norms)
            if finite:
                made = sum(self.outcomes)
                with timing.phase("update"):
                    finite = state.update(
                        vector, sums, norms, request.schedule[made], request.update.step + made
                    )
                if not finite:
                    self._overflows.add(position)
                    return False
                self.samples += sums.weight
                self.losses = {n: self.losses.get(n, 0.0) + value for n, value in sums.losses.items()}
            self.outcomes.append(finite)
        return True


def _grouping(update: Update) -> Grouping | None:
    """The parameter groups of the request's range."""
    if update.groups is None or update.ranges is None:
        return None
    groups = tuple(Group(each.weight_decay, each.learning_rate_factor) for each in update.groups)
    return Grouping(groups, tuple(update.ranges))


@dataclass(frozen=True, slots=True)
class _Written:
    """The SHA-256 of the objects of one range of a version; None of optimiser state that the range has not."""

    params: str
    optimizer: str | None

    def reply(self) -> dict[str, Any]:
        """Their part of an answer."""
        return {"params_sha256": self.params, "optimizer_sha256": self.optimizer}


class _State:
    """Parameters and optimiser state of one range, while they are updated from one version to the next."""

    def __init__(self, store: Store, request: RootRequest, warm: Warm, timing: Timing) -> None:
        self._store, self._request, self._warm, self._timing = store, request, warm, timing
        start, stop, trained = request.start, request.stop, request.sizes.parameters
        self._trained = max(0, min(stop, trained) - start)
        self._settings = (
            OptimizerSettings(**request.update.settings) if request.update.kind == "optimizer" else None
        )
        self._grouping = _grouping(request.update)
        slots = optimizers.slots(self._settings) if self._settings is not None else ()
        with timing.phase("read"):
            self._params, self._metadata = self._take(request.params, start, stop, 1)
            self._tensors = Tensors.from_metadata(self._metadata)
            self._slots = np.empty((0, 0), np.float32)
            if slots and self._trained:
                self._slots = self._read_slots(slots, start, start + self._trained)

    def _take(self, parts: list[Part], start: int, stop: int, rows: int) -> tuple[np.ndarray, dict[str, str]]:
        known = self._request.sha256 or {}
        return self._warm.take(self._store, parts, start, stop, rows, self._timing, known)

    def _read_slots(self, slots: tuple[str, ...], start: int, stop: int) -> np.ndarray:
        request, rows = self._request, len(slots)
        if request.optimizer:
            flat, _ = self._take(request.optimizer, start, stop, rows)
            return flat.reshape(rows, stop - start)
        assert self._settings is not None
        state = aligned(rows * (stop - start)).reshape(rows, stop - start)
        for row, slot in zip(state, slots, strict=True):
            row.fill(optimizers.initial(self._settings, slot))
        return state

    def update(
        self, total: np.ndarray, sums: Sums, norms: np.ndarray, learning_rate: float, step: int
    ) -> bool:
        """Make one update from sums over `sums.weight` samples; `total` is overwritten.

        Returns whether what was updated is finite. If it is not, the state is of no more use.
        """
        if sums.weight < 1:
            raise CorruptObject("a contribution without samples reached the root")
        request, trained = self._request, self._trained
        mean = total
        # What overflows is told by the result.
        with np.errstate(over="ignore", invalid="ignore"):
            if self._settings is None:
                np.multiply(mean, np.float32(1.0 / sums.weight), out=mean)
                np.add(self._params[:trained], mean[:trained], out=self._params[:trained])
                finite = bool(np.isfinite(self._params[:trained]).all())
            else:
                scale = optimizers.clip_scale(norms, sums.weight, request.update.clip_norm)
                np.multiply(mean[:trained], np.float32(scale / sums.weight), out=mean[:trained])
                np.multiply(mean[trained:], np.float32(1.0 / sums.weight), out=mean[trained:])
                finite = optimizers.apply(
                    self._settings,
                    params=self._params[:trained],
                    grads=mean[:trained],
                    state=list(self._slots),
                    learning_rate=learning_rate,
                    step=step,
                    grouping=self._grouping,
                    numbers=self._tensors.numbers(sums, step, request.start, request.start + trained),
                )
        if not (finite and self._average(mean, sums)):
            return False
        self._tensors = self._tensors.without(sums)
        self._metadata = {**self._metadata, **self._tensors.to_metadata()}
        if sums.raw:
            self._metadata["raw"] = sums.to_metadata()["raw"]
        return True

    def _average(self, mean: np.ndarray, sums: Sums) -> bool:
        """Take over the averaged values, but for those of buffers that no worker changed: they keep their bytes.

        Returns False if a value was finite and is not any more. Others may be infinite, as in a mask for attention.
        """
        trained = self._trained
        for kept in self._tensors.kept_buffers(sums, self._request.start, self._request.stop):
            mean[kept] = self._params[kept]
        for start in range(trained, len(mean), _CHECKED):
            piece = slice(start, start + _CHECKED)
            if (np.isfinite(self._params[piece]) & ~np.isfinite(mean[piece])).any():
                return False
        np.copyto(self._params[trained:], mean[trained:])
        return True

    def write(self) -> _Written:
        """Write the new version's objects durably, because a commit will name them; their SHA-256s.

        Where another writer was first, its object counts, so that this instance keeps none of its own.
        """
        with self._timing.phase("write"):
            made = create_digested(self._store, self._objects(), durable=True)
        self._count_written()
        if made[0].created:
            self._keep_params()
        if made[1:] and made[1].created:
            self._keep_slots()
        return _Written(made[0].sha256, made[1].sha256 if made[1:] else None)

    def send(self, channels: Channels) -> _Written:
        """Have the answer carry the new version's objects, which the driver writes; their SHA-256s."""
        objects = self._objects()
        with self._timing.phase("write"):
            for key, content in objects:
                channels.send(key, content)
            params, *slots = sha256s(objects)
        self._count_written()
        self._keep_params(params)
        for optimizer in slots:
            self._keep_slots(optimizer)
        return _Written(params, slots[0] if slots else None)

    def _objects(self) -> list[tuple[str, Sequence[Buffer]]]:
        """The new version's objects by key: parameters, and optimiser state if the range has any."""
        request, flat = self._request, self._slots.reshape(-1)
        params = (request.params_output, contribution.encode(self._params, self._metadata))
        return [params, (request.optimizer_output, contribution.encode(flat, {}))] if flat.size else [params]

    def _count_written(self) -> None:
        self._timing.bytes["written"] += self._params.nbytes + self._slots.nbytes

    def _keep_params(self, sha256: str | None = None) -> None:
        request = self._request
        self._warm.keep(
            request.params_output, request.start, request.stop, self._params, self._metadata, sha256
        )

    def _keep_slots(self, sha256: str | None = None) -> None:
        request, start = self._request, self._request.start
        flat = self._slots.reshape(-1)
        self._warm.keep(request.optimizer_output, start, start + self._trained, flat, {}, sha256)
