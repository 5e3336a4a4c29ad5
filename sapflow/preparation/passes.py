"""The passes over the rows: the first parses them, and each counts what the state before it asks for.

The work goes partition by partition, and within one batch by batch. A call that runs out of time leaves what it has
counted of the partition as a cursor. Where that happens never shows: batches and partitions are what sums are over.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sapflow.data.cut import refuse_changed
from sapflow.errors import CorruptObject
from sapflow.messages.documents import Document
from sapflow.messages.preparation import (
    MERGED_AT_ONCE,
    AdvanceReply,
    AdvanceRequest,
    CountRequest,
    MergeStatisticsReply,
    MergeStatisticsRequest,
    ParseRequest,
    RangeReply,
)
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.preparation import bad_rows, census, stored_batch
from sapflow.preparation.batch import Batch
from sapflow.preparation.census import EXAMPLES, Census
from sapflow.preparation.fitted import sampled
from sapflow.preparation.layout import layout_of
from sapflow.preparation.opened import Opened, Preparations, in_words, naming, put_once
from sapflow.preparation.packed_files import unpacked_files
from sapflow.preparation.pipeline import Pipeline, State
from sapflow.preparation.reading.reader import Parsed, Plan
from sapflow.preparation.record import Record
from sapflow.preparation.samples import Samples, pieces
from sapflow.preparation.statistics import Statistics, merged
from sapflow.preparation.survey import write_state
from sapflow.text import parse_json
from sapflow.timing import Timing

BATCH_STAGE, STEP_STAGE = "reading", "steps"
"""Where rows were found to be bad."""


@dataclass(slots=True)
class _Done:
    """What a call has gone through."""

    rows: int = 0
    rejected: int = 0
    raw: int = 0


@dataclass(frozen=True, slots=True)
class _Pass:
    """What all partitions of a pass have in common."""

    preparations: Preparations
    opened: Opened
    plan: Plan
    pipeline: Pipeline
    document: Document
    state: State
    samples: Samples | None
    """Where all steps are fitted, and so samples are counted."""

    @classmethod
    def of(cls, preparations: Preparations, request: ParseRequest | CountRequest) -> "_Pass":
        opened, plan = preparations.opened(request.spec), preparations.plan(request.plan)
        state = preparations.state(request.state)
        samples = preparations.samples(opened, plan, request.state) if state.fitted else None
        return cls(preparations, opened, plan, opened.pipeline(plan), request.state, state, samples)

    @property
    def store(self) -> Store:
        return self.preparations.store

    def key(self, partition: int) -> str:
        """The statistics of a partition in this pass."""
        return statistics_key(self.opened.prefix, self.document, 0, partition)

    def counted(self, before: Statistics, batch: Batch, index: int) -> Statistics:
        """The statistics of a partition's batches so far, this one included; rows are counted elsewhere."""
        with naming(self.opened.prepare):
            if self.samples is None:
                steps = self.pipeline.collect(self.state, batch, before.steps)
                return replace(before, steps=steps)
            return replace(before, census=self._census(self.samples, before.census, batch, index))

    def _census(self, samples: Samples, found: Census | None, batch: Batch, index: int) -> Census:
        number, opened = batch.partition, self.opened
        group = census.group_of(number, len(self.plan.partitions))
        bad = []
        for piece in pieces(batch, samples.rows_at_once):
            made = sampled(self.state, samples, piece, features=False)
            rows = bad_rows.of_steps(made.bad, number, batch.origins)
            found = census.counted(made, group, found, rows)
            bad += rows
        if bad:
            key = keys.rejected_rows(opened.prefix, STEP_STAGE, number, index)
            put_once(self.store, key, bad_rows.lines(bad))
        return found or Census((0,), (0,))


def parse(preparations: Preparations, request: ParseRequest, timing: Timing) -> RangeReply:
    """Parse partitions into batches in the store, and count what the first state asks for.

    Raises DataError, SpecError, InputsChanged, StoreError.
    """
    common, done = _Pass.of(preparations, request), _Done()
    opened, store = common.opened, preparations.store
    reader, files = opened.parts.reader_of(common.plan.format), unpacked_files(opened, common.plan)
    batch, cursor = request.batch, request.cursor
    for number in range(request.first, request.last):
        key = common.key(number)
        if store.exists(key):
            batch, cursor = 0, None
            continue
        found = _before(store, cursor)
        parsed = iter(reader.batches(files, common.plan, number, batch))
        while True:
            if not timing.may_start():
                return _paused(store, key, number, batch, found, done, timing)
            with timing.phase("read"):
                one = next(parsed, None)
            if one is None:
                break
            found = _take_in(common, one, number, batch, found, timing)
            done.rows += len(one.batch) + len(one.rejected)
            done.rejected += len(one.rejected)
            batch += 1
        # What was read is of the files that the area is named by, or nothing says that it is done.
        refuse_changed(opened.resolved, store, begun=False)
        facts = {
            "batches": batch, "rows": found.rows, "rejected": found.rejected, "examples": list(found.examples),
        }  # fmt: skip
        put_once(store, keys.parsed_facts(opened.prefix, number), json.dumps(facts, sort_keys=True).encode())
        _finish_partition(common, number, found, timing)
        done.raw += sum(max(0, piece.end - piece.begin) for piece in common.plan.partitions[number].pieces)
        batch, cursor = 0, None
    return _all_done(request.last, done, timing)


def count(preparations: Preparations, request: CountRequest, timing: Timing) -> RangeReply:
    """Count in parsed partitions what the state asks for. Raises DataError, SpecError, StoreError."""
    common, done = _Pass.of(preparations, request), _Done()
    opened, store = common.opened, preparations.store
    batch, cursor = request.batch, request.cursor
    for number in range(request.first, request.last):
        key = common.key(number)
        if store.exists(key):
            batch, cursor = 0, None
            continue
        facts = facts_of(store, opened.prefix, number)
        found = _before(store, cursor)
        for index, rows in stored_batches(store, opened.prefix, number, facts.batches, batch, timing):
            if rows is None:
                return _paused(store, key, number, index, found, done, timing)
            with timing.phase("compute"):
                found = common.counted(found, rows, index)
            done.rows += len(rows)
        found = replace(found, rows=facts.rows, rejected=facts.rejected, examples=facts.examples)
        _finish_partition(common, number, found, timing)
        batch, cursor = 0, None
    return _all_done(request.last, done, timing)


def merge(
    preparations: Preparations, request: MergeStatisticsRequest, timing: Timing
) -> MergeStatisticsReply:
    """Merge a node's children. Raises StoreError."""
    opened, plan = preparations.opened(request.spec), preparations.plan(request.plan)
    store, key = (
        preparations.store,
        statistics_key(opened.prefix, request.state, request.level, request.index),
    )
    if not store.exists(key):
        first = request.index * MERGED_AT_ONCE
        children = range(first, min(first + MERGED_AT_ONCE, request.nodes))
        with timing.phase("read"):
            found = [
                read_statistics(store, statistics_key(opened.prefix, request.state, request.level - 1, child))
                for child in children
            ]
        with timing.phase("compute"), naming(opened.prepare):
            total = merged(opened.pipeline(plan), preparations.state(request.state), found)
        with timing.phase("write"):
            put_once(store, key, total.record().encode())
    return MergeStatisticsReply(done=True, **timing.report())


def advance(preparations: Preparations, request: AdvanceRequest, timing: Timing) -> AdvanceReply:
    """The state after a pass, or after the last one the census. Raises DataError where too many rows are bad or nothing
    can be learnt of the rest, SpecError, StoreError."""
    opened, plan = preparations.opened(request.spec), preparations.plan(request.plan)
    state, store = preparations.state(request.state), preparations.store
    key = statistics_key(opened.prefix, request.state, request.level, 0)
    data = bytes(store.read(key))
    total = Statistics.of_record(Record.decode(data, key), key)
    bad_rows.check(opened.prepare, total, opened.rejected)
    if state.fitted:
        samples = preparations.samples(opened, plan, request.state)
        found = total.census or Census((), ())
        bad_rows.check_held(opened.prepare, sum(found.held))
        layout_of(samples, found, opened.family)
        return AdvanceReply(
            done=True,
            state=request.state,
            fitted=True,
            census=Document.of(key, data),
            train=sum(found.train),
            held=sum(found.held),
            bad=total.bad,
            **timing.report(),
        )
    pipeline = opened.pipeline(plan)
    with naming(opened.prepare), timing.phase("compute"):
        following = pipeline.next(state, total.steps)
    return AdvanceReply(
        done=True,
        state=write_state(preparations, opened.prefix, following.record()),
        fitted=following.fitted,
        learning=in_words(pipeline, following, opened.prepare),
        bad=total.bad,
        **timing.report(),
    )


def levels(partitions: int) -> list[int]:
    """The nodes of each level of the tree above the partitions, the root's last."""
    found = [max(1, math.ceil(partitions / MERGED_AT_ONCE))]
    while found[-1] > 1:
        found.append(math.ceil(found[-1] / MERGED_AT_ONCE))
    return found


def statistics_key(prefix: str, state: Document, level: int, index: int) -> str:
    """The key of a node's statistics in the pass after a state."""
    return keys.statistics(prefix, state.sha256[:16], level, index)


def read_statistics(store: Store, key: str) -> Statistics:
    """A node's statistics. Raises CorruptObject, ObjectMissing, StoreError."""
    return Statistics.of_record(Record.decode(bytes(store.read(key)), key), key)


@dataclass(frozen=True, slots=True)
class Facts:
    """How much a parsed partition has."""

    batches: int
    rows: int
    rejected: int
    examples: tuple[dict[str, object], ...]


def facts_of(store: Store, prefix: str, partition: int) -> Facts:
    """How much a parsed partition has. Raises CorruptObject, ObjectMissing, StoreError."""
    key = keys.parsed_facts(prefix, partition)
    try:
        found = parse_json(bytes(store.read(key)))
        return Facts(
            int(found["batches"]), int(found["rows"]), int(found["rejected"]), tuple(found["examples"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptObject(f"object {key} does not say how much a partition has: {error!r}") from error


def stored_batches(
    store: Store, prefix: str, partition: int, count: int, first: int, timing: Timing
) -> Iterator[tuple[int, Batch | None]]:
    """The parsed batches of a partition from `first` on; None in place of one for which there is no time left."""
    for index in range(first, count):
        if not timing.may_start():
            yield index, None
            return
        key = keys.parsed(prefix, partition, index)
        with timing.phase("read"):
            data = store.read(key)
            timing.bytes["read"] += len(data)
        yield index, stored_batch.decode(data, key)


def _take_in(
    common: _Pass, one: Parsed, number: int, index: int, found: Statistics, timing: Timing
) -> Statistics:
    """Keep a parsed batch and its rejected rows, and count it as it will be read again."""
    prefix, store = common.opened.prefix, common.store
    rejected = bad_rows.of_rejected(one.rejected)
    key = keys.parsed(prefix, number, index)
    data = b"".join(stored_batch.encode(one.batch))
    with timing.phase("write"):
        put_once(store, key, data)
        timing.bytes["written"] += len(data)
        if rejected:
            put_once(store, keys.rejected_rows(prefix, BATCH_STAGE, number, index), bad_rows.lines(rejected))
    found = replace(
        found,
        rows=found.rows + len(one.batch) + len(rejected),
        rejected=found.rejected + len(rejected),
        examples=(found.examples + tuple(rejected))[:EXAMPLES],
    )
    with timing.phase("compute"):
        return common.counted(found, stored_batch.decode(data, key), index)


def _finish_partition(common: _Pass, number: int, found: Statistics, timing: Timing) -> None:
    if common.samples is not None and found.census is None:
        found = replace(found, census=Census((0,), (0,)))
    with timing.phase("write"):
        put_once(common.store, common.key(number), found.record().encode())


def _before(store: Store, cursor: str | None) -> Statistics:
    return Statistics() if cursor is None else read_statistics(store, cursor)


def _paused(
    store: Store, key: str, number: int, batch: int, found: Statistics, done: _Done, timing: Timing
) -> RangeReply:
    """Leave what is counted of a partition for the call that goes on."""
    cursor = None
    if batch:
        cursor = keys.cursor(key, batch)
        put_once(store, cursor, found.record().encode())
    return RangeReply(
        done=False, first=number, batch=batch, cursor=cursor, rows=done.rows, rejected=done.rejected, raw=done.raw,
        **timing.report(),
    )  # fmt: skip


def _all_done(last: int, done: _Done, timing: Timing) -> RangeReply:
    return RangeReply(
        done=True, first=last, rows=done.rows, rejected=done.rejected, raw=done.raw, **timing.report()
    )
