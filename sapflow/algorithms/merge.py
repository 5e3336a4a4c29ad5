"""Merging: sum contributions in a fixed order, in place, streaming, with memory that does not grow with their number.

The sum of each element is ((c₀ + c₁) + c₂) + …: only the order within an element matters for the bits, so pieces of
the vector may be summed one after the other, children may be read ahead, and a sum may go on from a cursor.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from sapflow.messages.replies import MergeReply
from sapflow.messages.requests import MergeRequest
from sapflow.objects import contribution, keys
from sapflow.objects.contribution import Sums
from sapflow.objects.safetensor import aligned
from sapflow.objects.stores.cell import holder_of
from sapflow.objects.stores.protocol import ObjectReader, Store
from sapflow.quantities.read_ahead import READ_AHEAD, SMALL
from sapflow.timing import Timing

PIECE = 64 * 1024
"""Elements summed at once: 256 KiB, so that the running sum and one piece of a child stay in a core's cache."""
OPEN_CHILDREN = 16
"""Children of a local store that are open at once."""


class Workspace:
    """Buffers kept between invocations, by name; one size each, so what is kept is bounded."""

    def __init__(self) -> None:
        self._buffers: dict[str, np.ndarray] = {}

    def buffer(self, name: str, count: int) -> np.ndarray:
        """A float32 vector of `count` elements, 64-byte aligned, with whatever is in it."""
        kept = self._buffers.get(name)
        if kept is None or len(kept) != count:
            self._buffers.pop(name, None)
            kept = self._buffers[name] = aligned(count)
        return kept


def merge(store: Store, request: MergeRequest, workspace: Workspace, timing: Timing) -> MergeReply:
    """Sum a group of children and write one contribution."""
    total = workspace.buffer("sum", request.stop - request.start)
    sums = sum_children(store, request.children, total, timing, output=request.output, cursor=request.cursor)
    if isinstance(sums, str):
        return MergeReply(done=False, cursor=sums, **timing.report())
    with timing.phase("write"):
        store.create(request.output, contribution.encode(total, sums.to_metadata()))
    timing.bytes["written"] += total.nbytes
    return MergeReply(done=True, samples=sums.weight, **timing.report())


def sum_children(
    store: Store,
    children: Sequence[str],
    total: np.ndarray,
    timing: Timing,
    *,
    output: str,
    cursor: str | None = None,
) -> Sums | str:
    """Sum `children` into `total` (float32 [n]) in order; their scalars, or a cursor's key where time ran out.

    Raises ObjectMissing or CorruptObject where a child is not what it should be.
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
            return key
        group = children[done : done + OPEN_CHILDREN]
        with timing.phase("merge"):
            far = any(holder_of(store, key).remote for key in group)
            add = _add_streams if far else _add_pieces
            for part in add(store, group, total, fresh=sums is None):
                sums = part if sums is None else sums + part
        timing.bytes["read"] += total.nbytes * len(group)
        done += len(group)
    assert sums is not None
    return sums


def _add_pieces(store: Store, group: Sequence[str], total: np.ndarray, *, fresh: bool) -> list[Sums]:
    """Piece by piece over all children of the group: the running sum stays in cache."""
    scratch = aligned(min(PIECE, len(total)))
    with ExitStack() as stack:
        readers = [stack.enter_context(store.open(key)) for key in group]
        sums = [_sums(reader, key, len(total)) for reader, key in zip(readers, group, strict=True)]
        for start in range(0, len(total), PIECE):
            piece = total[start : start + PIECE]
            for index, reader in enumerate(readers):
                if fresh and index == 0:
                    reader.readinto(memoryview(piece).cast("B"))
                else:
                    read = scratch[: len(piece)]
                    reader.readinto(memoryview(read).cast("B"))
                    np.add(piece, read, out=piece)
    return sums


def _sums(reader: ObjectReader, key: str, count: int) -> Sums:
    return Sums.from_metadata(contribution.read_header(reader, key, count), key)


def _add_streams(store: Store, group: Sequence[str], total: np.ndarray, *, fresh: bool) -> Iterator[Sums]:
    """Child by child, the next ones asked for ahead: the network works while we add."""
    small = total.nbytes <= SMALL
    ahead = READ_AHEAD if small else 1

    def fetch(key: str) -> tuple[Sums, ObjectReader | np.ndarray]:
        with ExitStack() as stack:
            reader = stack.enter_context(store.open(key))
            sums = _sums(reader, key, len(total))
            if not small:
                stack.pop_all()
                return sums, reader
            vector = aligned(len(total))
            reader.readinto(memoryview(vector).cast("B"))
            return sums, vector

    with ThreadPoolExecutor(ahead, thread_name_prefix="read-ahead") as pool:
        waiting: list[Future[tuple[Sums, ObjectReader | np.ndarray]]] = []
        try:
            for index in range(len(group)):
                while len(waiting) <= ahead and index + len(waiting) < len(group):
                    waiting.append(pool.submit(fetch, group[index + len(waiting)]))
                sums, child = waiting.pop(0).result()
                first = fresh and index == 0
                if not isinstance(child, np.ndarray):
                    with child:
                        _add_stream(child, total, first=first)
                elif first:
                    np.copyto(total, child)
                else:
                    np.add(total, child, out=total)
                yield sums
        finally:
            for future in waiting:
                if not future.cancel() and future.exception() is None:
                    _, child = future.result()
                    if not isinstance(child, np.ndarray):
                        child.__exit__(None, None, None)


def _add_stream(reader: ObjectReader, total: np.ndarray, *, first: bool) -> None:
    if first:
        reader.readinto(memoryview(total).cast("B"))
        return
    for start in range(0, len(total), PIECE):
        piece = total[start : start + PIECE]
        np.add(piece, np.frombuffer(reader.next(piece.nbytes), contribution.FLOAT), out=piece)
