"""A preparation of the beginning of the raw data, in memory: what `validate` and `plan` tell before anything runs."""

from dataclasses import dataclass, replace
from typing import Any

from sapflow.data.data_file import DataFile
from sapflow.data.manifest import Manifest
from sapflow.data.named_file import named_texts
from sapflow.data.shared_data import finder
from sapflow.data.source_files import naming as naming_field
from sapflow.data.source_files import used_files
from sapflow.data.survey import RawExtent, Survey
from sapflow.errors import DataError
from sapflow.preparation import bad_rows, census
from sapflow.preparation.batch import Batch
from sapflow.preparation.census import Census
from sapflow.preparation.fitted import sampled
from sapflow.preparation.layout import layout_of
from sapflow.preparation.opened import Parts, naming
from sapflow.preparation.pipeline import Pipeline
from sapflow.preparation.reading.content_check import columns_note
from sapflow.preparation.reading.gzip_beginning import unpacked_beginning
from sapflow.preparation.reading.reader import Asked, Plan, Reader
from sapflow.preparation.samples import pieces, samples_of
from sapflow.preparation.statistics import Statistics, merged
from sapflow.spec.learning import DataSpec
from sapflow.spec.preparation.prepare import DEFAULT_MISSING, PrepareSpec

PARTITIONS = 2
"""So many are read; what larger sources have beyond is not known."""


@dataclass(frozen=True, slots=True)
class _Read:
    """The rows that were read, by partition, and what was rejected of them."""

    partitions: list[list[Batch]]
    rejected: Statistics
    complete: bool


@naming_field("spec.data")
def survey(data: DataSpec, prepare: PrepareSpec, store: str, seed: int, parts: Parts) -> Survey:
    """What would be known of the samples, by the beginning of the source. Raises DataError, SpecError, StoreError.

    An s3:// source without an endpoint is read from that of the store, whose URL is `store`.
    """
    find = finder(store)
    format, files = used_files(data.source, data.format, find, raw=True)
    reader = parts.reader_of(format)
    options = {name: value for name, value in data.options.items() if name != "task"}
    plan = reader.survey(files, Asked(options, prepare.columns or {}, prepare.missing or DEFAULT_MISSING))
    named = named_texts(prepare.named_files, find)
    with naming(prepare, columns_note(files, plan)):
        pipeline = Pipeline(parts.steps(prepare, seed, plan.types, named), plan.types, deals=True)
        state = pipeline.begin()
        indexed, there = len(plan.to_index), sum(file.size for file in files)
        if indexed:
            files, sizes = unpacked_beginning(files, plan.to_index, PARTITIONS)
            plan = reader.partitioned(files, plan.model_copy(update={"to_index": (), "unpacked": sizes}))
        plan = _exact(reader, files, plan)
        read = _read(reader, files, plan)
        bad_rows.check(prepare, read.rejected, None, complete=read.complete)
        while not state.fitted:
            found = []
            for batches in read.partitions:
                counted = Statistics()
                for batch in batches:
                    counted = Statistics(steps=pipeline.collect(state, batch, counted.steps))
                found.append(counted)
            state = pipeline.next(state, merged(pipeline, state, found).steps)
        samples = samples_of(pipeline.schema(state), prepare.target)
        total: list[Census] = []
        for number, batches in enumerate(read.partitions):
            one: Census | None = None
            for batch in batches:
                for piece in pieces(batch, samples.rows_at_once):
                    made = sampled(state, samples, piece)
                    bad = bad_rows.of_steps(made.bad, number, batch.origins)
                    one = census.counted(made, number, one, bad)
            total.append(one or Census((0,), (0,)))
    found_samples = census.merged(total)
    bad_rows.check(prepare, replace(read.rejected, census=found_samples), None, complete=read.complete)
    if read.complete:
        bad_rows.check_held(prepare, sum(found_samples.held))
    task = data.options.get("task")
    layout = layout_of(samples, found_samples, None if task is None else str(task).lower())
    manifest: Manifest = layout.manifest(data.source)
    partitions = len(plan.partitions)
    raw = RawExtent(len(files), there, partitions, indexed, bool(indexed) and partitions > PARTITIONS)
    return Survey(manifest, read.complete, raw=raw)


def _exact(reader: Reader, files: list[DataFile], plan: Plan) -> Plan:
    """The plan with its first partitions exact; the others are left out where they would have to be scanned."""
    if not plan.partitions:
        raise DataError("the source holds no rows")
    if not plan.to_scan:
        return plan
    # Where the last one that is read ends is known by the scan of the next.
    scanned = PARTITIONS + 1
    kept = plan.model_copy(
        update={
            "partitions": plan.partitions[:scanned],
            "to_scan": tuple(number for number in plan.to_scan if number < scanned),
        }
    )
    cut = reader.cut(kept, [reader.scan(files, kept, number) for number in kept.to_scan])
    # That there are more is what tells a beginning from the whole.
    return cut.model_copy(update={"partitions": (*cut.partitions, *plan.partitions[scanned:])})


def _read(reader: Reader, files: list[DataFile], plan: Plan) -> _Read:
    partitions = []
    rows = rejected = 0
    examples: list[dict[str, Any]] = []
    for number in range(min(PARTITIONS, len(plan.partitions))):
        batches = []
        for parsed in reader.batches(files, plan, number):
            batches.append(parsed.batch)
            rows += len(parsed.batch) + len(parsed.rejected)
            rejected += len(parsed.rejected)
            examples += bad_rows.of_rejected(parsed.rejected)[: census.EXAMPLES - len(examples)]
        partitions.append(batches)
    return _Read(partitions, Statistics(rows, rejected, tuple(examples)), len(plan.partitions) <= PARTITIONS)
