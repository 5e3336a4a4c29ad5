"""Packed files that are cut: their seek points are found once, and then each partition is unpacked by itself.

A seek point is found from the one before it, so what a call finds, any other goes on from.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache

from sapflow.data.cut import refuse_changed
from sapflow.data.data_file import DataFile
from sapflow.data.source_files import naming as naming_field
from sapflow.errors import CorruptObject
from sapflow.messages.preparation import IndexRequest, PartitionReply, PartitionRequest, RangeReply
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.opened import Opened, Preparations, write_once, write_plan
from sapflow.preparation.reading.gzip_beginning import Unpacked, known_to_end, sizes_by, up_to
from sapflow.preparation.reading.reader import Plan
from sapflow.preparation.reading.seek_point import SeekPoint
from sapflow.preparation.reading.seek_search import search
from sapflow.preparation.reading.unpacked_gzip import unpacked_file
from sapflow.preparation.record import Record
from sapflow.text import parse_json
from sapflow.timing import Timing

_PARTITIONED = "partitions"


@naming_field("spec.data")
def index(preparations: Preparations, request: IndexRequest, timing: Timing) -> RangeReply:
    """Find the seek points of the files from number `first` of `plan.to_index` on, from border `batch` on.

    Raises DataError, InputsChanged, StoreError.
    """
    opened, plan = preparations.opened(request.spec), preparations.plan(request.plan)
    store, border, raw = preparations.store, max(1, request.batch), 0
    for place in range(request.first, request.last):
        number = plan.to_index[place]
        file, size_key = opened.read_files[number], keys.unpacked_size(opened.prefix, number)
        if not store.exists(size_key):
            border = _known(store, opened.prefix, number, border - 1) + 1
            before = (
                None if border == 1 else _point(store, keys.seek_point(opened.prefix, number, border - 1))
            )
            while request.most is None or border <= request.most:
                if not timing.may_start():
                    return RangeReply(done=False, first=place, batch=border, **timing.report())
                with timing.phase("read"):
                    found = search(file, border, before)
                    refuse_changed(opened.resolved, store, begun=False)
                if found.point is None:
                    write_once(store, size_key, json.dumps({"size": found.size}).encode())
                    break
                key, before = keys.seek_point(opened.prefix, number, border), found.point
                write_once(store, key, before.record().encode())
                border += 1
        if request.most is not None:
            known = _unpacked(opened, number)
            raw = 0 if known is None else known.least
        border = 1
    return RangeReply(done=True, first=request.last, raw=raw, **timing.report())


@naming_field("spec.data")
def partition(preparations: Preparations, request: PartitionRequest, timing: Timing) -> PartitionReply:
    """Cut the source into partitions, as if no file of seek points were packed. Raises DataError, StoreError."""
    opened, plan = preparations.opened(request.spec), preparations.plan(request.plan)
    store, reader = preparations.store, opened.parts.reader_of(plan.format)
    with timing.phase("read"):
        sizes = _sizes(opened, plan.to_index, estimated=request.estimated)
        plan = plan.model_copy(update={"to_index": (), "unpacked": sizes})
        plan = reader.partitioned(unpacked_files(opened, plan), plan)
        document = write_plan(store, keys.preparation_plan(opened.prefix, _PARTITIONED), plan)
    return PartitionReply(
        done=True,
        plan=document,
        partitions=len(plan.partitions),
        to_scan=list(plan.to_scan),
        **timing.report(),
    )


def unpacked_files(opened: Opened, plan: Plan) -> list[DataFile]:
    """The files of the source, those whose seek points are known as if they were not packed."""
    files = list(opened.read_files)
    for number, size in plan.unpacked.items():
        files[number] = unpacked_file(files[number], size, _points(opened.store, opened.prefix, number))
    return files


def _points(store: Store, prefix: str, file: int) -> Callable[[int], SeekPoint]:
    @lru_cache(4)
    def point(border: int) -> SeekPoint:
        return _point(store, keys.seek_point(prefix, file, border))

    return point


def _point(store: Store, key: str) -> SeekPoint:
    try:
        return SeekPoint.of_record(Record.decode(bytes(store.read(key)), key))
    except KeyError as error:
        raise CorruptObject(f"object {key} is no seek point of a packed file: {error!r}") from error


def _known(store: Store, prefix: str, file: int, border: int) -> int:
    """The number of the last border whose seek point is known, at least `border`. Each is written after the one before,
    so they are told by few requests."""
    step = 1
    while store.exists(keys.seek_point(prefix, file, border + step)):
        border, step = border + step, 2 * step
    while step := step // 2:
        if store.exists(keys.seek_point(prefix, file, border + step)):
            border += step
    return border


def _sizes(opened: Opened, packed: Sequence[int], *, estimated: bool) -> dict[int, int]:
    """The sizes of what is unpacked of files, by their numbers."""
    store, prefix = opened.store, opened.prefix
    if not estimated:
        return {number: _size(store, keys.unpacked_size(prefix, number)) for number in packed}
    known = ((number, _unpacked(opened, number)) for number in packed)
    return sizes_by(opened.read_files, packed, {number: each for number, each in known if each is not None})


def _unpacked(opened: Opened, file: int) -> Unpacked | None:
    """What was found out of a file so far; None if nothing was."""
    store, prefix, size_key = opened.store, opened.prefix, keys.unpacked_size(opened.prefix, file)
    if store.exists(size_key):
        return known_to_end(opened.read_files[file], _size(store, size_key))
    border = _known(store, prefix, file, 0)
    return up_to(border, _point(store, keys.seek_point(prefix, file, border))) if border else None


def _size(store: Store, key: str) -> int:
    try:
        return int(parse_json(bytes(store.read(key)))["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptObject(f"object {key} does not say how much is unpacked of a file: {error!r}") from error
