"""The end of a preparation: each partition's blocks, what the steps have learnt, and the manifest."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from sapflow.data.blocks import load_manifest
from sapflow.data.cut import refuse_changed
from sapflow.errors import ObjectMissing
from sapflow.messages.documents import Document
from sapflow.messages.preparation import (
    ClearReply,
    ClearRequest,
    FinishReply,
    FinishRequest,
    RangeReply,
    WriteRequest,
)
from sapflow.objects import keys
from sapflow.preparation import stored_batch
from sapflow.preparation.batch import Batch
from sapflow.preparation.census import Census
from sapflow.preparation.fitted import FittedPreparation, digest, sampled
from sapflow.preparation.layout import Layout, layout_of
from sapflow.preparation.opened import Opened, Preparations, read_record, write_once
from sapflow.preparation.passes import facts_of, stored_batches
from sapflow.preparation.profile import MOST_PARTITIONS, profile
from sapflow.preparation.reading.reader import Plan
from sapflow.preparation.record import Record
from sapflow.preparation.samples import pieces
from sapflow.preparation.statistics import Statistics
from sapflow.preparation.writer import Writer
from sapflow.timing import Timing

_AT_ONCE = 1000
"""The number of objects that one request removes."""


def write(preparations: Preparations, request: WriteRequest, timing: Timing) -> RangeReply:
    """Write the blocks of partitions. Raises DataError, StoreError."""
    opened, plan = preparations.opened(request.spec), preparations.plan(request.plan)
    store, prefix = preparations.store, opened.prefix
    layout, _ = _layout(preparations, opened, plan, request.state, request.census)
    state = preparations.state(request.state)
    batch, cursor, rows = request.batch, request.cursor, 0
    for number in range(request.first, request.last):
        mark = keys.written(prefix, number)
        if store.exists(mark):
            batch, cursor = 0, None
            continue
        before = None if cursor is None else Record.decode(bytes(store.read(cursor)), cursor)
        writer = Writer(layout, store, prefix, opened.seed, number, before)
        count = facts_of(store, prefix, number).batches
        for index, found in stored_batches(store, prefix, number, count, batch, timing):
            if found is None:
                cursor = None
                if index:
                    cursor = keys.cursor(mark, index)
                    write_once(store, cursor, writer.record().encode())
                return RangeReply(
                    done=False, first=number, batch=index, cursor=cursor, rows=rows, **timing.report()
                )
            for piece in pieces(found, layout.samples.rows_at_once):
                with timing.phase("compute"):
                    samples = sampled(state, layout.samples, piece)
                with timing.phase("write"):
                    writer.add(samples)
            rows += len(found)
        with timing.phase("write"):
            writer.finish()
            timing.bytes["written"] += writer.bytes_written
            store.create(mark, b"")
        batch, cursor = 0, None
    return RangeReply(done=True, first=request.last, rows=rows, **timing.report())


def finish(preparations: Preparations, request: FinishRequest, timing: Timing) -> FinishReply:
    """Write the fitted preparation, and the manifest last. Raises InputsChanged if the source is not what it was,
    DataError, StoreError."""
    opened, plan = preparations.opened(request.spec), preparations.plan(request.plan)
    store, prefix = preparations.store, opened.prefix
    layout, total = _layout(preparations, opened, plan, request.state, request.census)
    key = keys.manifest(prefix)
    with timing.phase("write"):
        fitted = FittedPreparation(
            plan.model_copy(update={"partitions": (), "to_scan": (), "named_files": {}}),
            preparations.state(request.state),
            layout.samples,
        )
        data = fitted.record().encode()
        store.create(keys.fitted_preparation(prefix), data, durable=True)
        _keep_profile(preparations, opened, plan, request.state, layout)
        manifest = replace(
            layout.manifest(opened.resolved.job.spec.data.source),
            preparation=digest(data),
            raw_rows=total.rows,
            rejected_rows=total.bad,
        )
        if not store.exists(key):
            refuse_changed(opened.resolved, store, begun=False)
            store.create(key, json.dumps(manifest.to_json(), indent=1).encode(), durable=True)
    return FinishReply(
        done=True,
        manifest=key,
        train=manifest.train_samples,
        held=manifest.validation_samples,
        bad=total.bad,
        **timing.report(),
    )


def _keep_profile(
    preparations: Preparations, opened: Opened, plan: Plan, state: Document, layout: Layout
) -> None:
    """Write the profile of the raw rows, unless it is there: then another call may have removed parsed rows already."""
    store, prefix = preparations.store, opened.prefix
    key, count = keys.profile(prefix), len(plan.partitions)
    if store.exists(key) or store.exists(keys.manifest(prefix)):
        return
    chosen = sorted({place * count // MOST_PARTITIONS for place in range(MOST_PARTITIONS)})

    def batches() -> Iterator[Batch]:
        for number in chosen:
            if facts_of(store, prefix, number).batches:
                parsed = keys.parsed(prefix, number, 0)
                yield stored_batch.decode(store.read(parsed), parsed)

    found = profile(batches(), preparations.state(state), layout.samples)
    if found is not None:
        store.create(key, found.record().encode(), durable=True)


def clear(preparations: Preparations, request: ClearRequest, timing: Timing) -> ClearReply:
    """Remove what only the preparation needed, the plan of the survey last: as long as it is there, so may be others.

    Nothing is removed before the manifest stands. Raises StoreError.
    """
    opened, store = preparations.opened(request.spec), preparations.store
    try:
        load_manifest(store, keys.manifest(opened.prefix))
    except ObjectMissing:
        return ClearReply(done=True, **timing.report())
    last = keys.preparation_plan(opened.prefix, "survey")
    found = (each.key for each in store.list(keys.preparation_work(opened.prefix)) if each.key != last)
    while names := list(islice(found, _AT_ONCE)):
        store.delete(names)
    store.delete([last])
    return ClearReply(done=True, **timing.report())


def _layout(
    preparations: Preparations, opened: Opened, plan: Plan, state: Document, census: Document
) -> tuple[Layout, Statistics]:
    """The layout, and the last pass's statistics."""
    samples = preparations.samples(opened, plan, state)
    total = Statistics.of_record(read_record(preparations.store, census), census.key)
    return layout_of(samples, total.census or Census((), ()), opened.family), total
