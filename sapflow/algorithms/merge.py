"""Merging: sums contributions in a fixed order, in place and streaming. Memory does not grow with their number.

The sum of each element is ((c₀ + c₁) + c₂) + …. Only this order determines the bits. So pieces of the vector may be
summed one after the other, children may be read ahead, and a sum may continue from a cursor.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass

import numpy as np

from sapflow.channels.channels import Channels
from sapflow.codecs.codec import Decoding
from sapflow.codecs.registry import codec_of
from sapflow.messages.refs import Ref
from sapflow.messages.replies import MergeReply
from sapflow.messages.requests import MergeRequest
from sapflow.objects import contribution, keys
from sapflow.objects.safetensor import aligned
from sapflow.objects.stores.protocol import ObjectReader, Store
from sapflow.objects.sums import Sums
from sapflow.quantities.read_ahead import READ_AHEAD, SMALL
from sapflow.timing import Timing

PIECE = 64 * 1024
"""Number of elements that are summed at once: 256 KiB, so the running sum and a piece of a child fit into the cache."""
OPEN_CHILDREN = 16
"""Number of children of a local store that are open at once."""


class Workspace:
    """Named buffers that are reused between invocations. There is one buffer per name, so memory is bounded."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def buffer(self, name: str, count: int) -> np.ndarray:
        """An uninitialised float32 vector of `count` elements, 64-byte aligned."""
        kept = self._buffers.get(name)
        if kept is None or len(kept) != count:
            self._buffers.pop(name, None)
            kept = self._buffers[name] = aligned(count)
        return kept


def merge(
    store: Store, channels: Channels, request: MergeRequest, workspace: Workspace, timing: Timing
) -> MergeReply:
    """Sum a group of children and write one contribution."""
    output = request.output
    total = workspace.buffer("sum", output.count)
    sums = sum_children(
        store, channels, request.children, total, timing, output=output.key, cursor=request.cursor
    )
    if isinstance(sums, Cursor):
        return MergeReply(
            done=False,
            cursor=sums.key,
            summed=sums.summed,
            child_latency=timing.child_latency,
            **timing.report(),
        )
    with timing.phase("write"):
        write(channels, output, total, sums.to_metadata())
    timing.bytes["written"] += total.nbytes
    return MergeReply(done=True, samples=sums.weight, child_latency=timing.child_latency, **timing.report())


def write(channels: Channels, ref: Ref, vector: np.ndarray, metadata: Mapping[str, str]) -> bool:
    """Write a contribution's range to the place and in the encoding that its ref names. False if it was there."""
    return channels.put(ref, codec_of(ref.codec, ref.key).encode(vector, metadata))


def read(channels: Channels, ref: Ref, out: np.ndarray) -> Mapping[str, str]:
    """Read the range of a ref into `out` (float32 [ref.count]), and return its metadata."""
    with channels.open(ref) as reader:
        decoding = codec_of(ref.codec, ref.key).decode(reader, ref.key, len(out))
        decoding.readinto(out)
        return decoding.metadata


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a sum stands whose time ran out: the key of what is summed, and the number of children in it."""

    key: str
    summed: int


def sum_children(
    store: Store,
    channels: Channels,
    children: Sequence[Ref],
    total: np.ndarray,
    timing: Timing,
    *,
    output: str,
    cursor: str | None = None,
) -> Sums | Cursor:
    """Sum `children` into `total` (float32 [n]) in order; their scalars, or a cursor where time ran out.

    Names of cursors begin with the key `output`; cursors are in the store, whatever the children's channel.
    Raises ObjectMissing or CorruptObject if a child is missing or broken.
    """
    done, sums = 0, None
    if cursor is not None:
        metadata = contribution.read_vector(store, cursor, total)
        done, sums = int(metadata["done"]), Sums.from_metadata(metadata, cursor)
    while done < len(children):
        if not timing.may_start():
            assert sums is not None
            key = keys.cursor(output, done)
            with timing.phase("write"):
                store.create(key, contribution.encode(total, {**sums.to_metadata(), "done": str(done)}))
            return Cursor(key, done)
        group = children[done : done + OPEN_CHILDREN]
        # Buffers may be infinite, and a gradient that is not is told by its norms.
        with timing.phase("merge"), np.errstate(over="ignore", invalid="ignore"):
            far, fresh = any(channels.remote(ref) for ref in group), sums is None
            for part in (
                _add_streams(channels, group, total, timing, fresh=fresh)
                if far
                else _add_pieces(channels, group, total, fresh=fresh)
            ):
                sums = part if sums is None else sums + part
        timing.bytes["read"] += total.nbytes * len(group)
        done += len(group)
    assert sums is not None
    return sums


def _add_pieces(channels: Channels, group: Sequence[Ref], total: np.ndarray, *, fresh: bool) -> list[Sums]:
    """Sum all children of the group piece by piece, so that the running sum stays in the cache."""
    scratch = aligned(min(PIECE, len(total)))
    with ExitStack() as stack:
        children = [_decode(stack.enter_context(channels.open(ref)), ref, len(total)) for ref in group]
        for start in range(0, len(total), PIECE):
            piece = total[start : start + PIECE]
            for index, child in enumerate(children):
                if fresh and index == 0:
                    child.readinto(piece)
                else:
                    read = scratch[: len(piece)]
                    child.readinto(read)
                    np.add(piece, read, out=piece)
        return [_sums(child, ref) for child, ref in zip(children, group, strict=True)]


def _decode(reader: ObjectReader, ref: Ref, count: int) -> Decoding:
    return codec_of(ref.codec, ref.key).decode(reader, ref.key, count)


def _sums(child: Decoding, ref: Ref) -> Sums:
    return Sums.from_metadata(child.metadata, ref.key)


def _add_streams(
    channels: Channels, group: Sequence[Ref], total: np.ndarray, timing: Timing, *, fresh: bool
) -> Iterator[Sums]:
    """Sum child by child, while the next ones are requested, so that transfers and additions overlap."""
    small = total.nbytes <= SMALL
    ahead = READ_AHEAD if small else 1

    def fetch(ref: Ref) -> _Fetched:
        with ExitStack() as stack:
            with timing.child_begins() if channels.remote(ref) else nullcontext():
                child = _decode(stack.enter_context(channels.open(ref)), ref, len(total))
            if not small:
                return _Fetched(_sums(child, ref), child, None, stack.pop_all())
            vector = aligned(len(total))
            child.readinto(vector)
            return _Fetched(_sums(child, ref), child, vector, ExitStack())

    with ThreadPoolExecutor(ahead, thread_name_prefix="read-ahead") as pool:
        waiting: list[Future[_Fetched]] = []
        try:
            for index in range(len(group)):
                while len(waiting) <= ahead and index + len(waiting) < len(group):
                    waiting.append(pool.submit(fetch, group[index + len(waiting)]))
                fetched = waiting.pop(0).result()
                first = fresh and index == 0
                with fetched.opened:
                    if fetched.vector is None:
                        _add_stream(fetched.child, total, first=first)
                    elif first:
                        np.copyto(total, fetched.vector)
                    else:
                        np.add(total, fetched.vector, out=total)
                yield fetched.sums
        finally:
            for future in waiting:
                if not future.cancel() and future.exception() is None:
                    future.result().opened.close()


@dataclass(frozen=True, slots=True)
class _Fetched:
    """A child that was requested ahead: a small one is read completely, a larger one is open in `opened`."""

    sums: Sums
    child: Decoding
    vector: np.ndarray | None
    opened: ExitStack


def _add_stream(child: Decoding, total: np.ndarray, *, first: bool) -> None:
    if first:
        child.readinto(total)
        return
    for start in range(0, len(total), PIECE):
        piece = total[start : start + PIECE]
        np.add(piece, child.next(len(piece)), out=piece)
