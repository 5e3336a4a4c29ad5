"""The beginning of a preparation: what the source holds, where its partitions are exactly, and the first state."""

from sapflow.data.cut import refuse_changed, settle_files
from sapflow.data.fingerprint import source_key
from sapflow.data.source_files import naming as naming_field
from sapflow.errors import DataError, ObjectMissing
from sapflow.messages.documents import Document
from sapflow.messages.preparation import (
    BeginReply,
    BeginRequest,
    RangeReply,
    ScanRequest,
    SurveyReply,
    SurveyRequest,
)
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.preparation.opened import Preparations, in_words, naming, write_once, write_plan
from sapflow.preparation.packed_files import unpacked_files
from sapflow.preparation.reading.content_check import columns_note
from sapflow.preparation.record import Record
from sapflow.timing import Timing

_REACHABLE = "s3://"
_SURVEYED, _EXACT = "survey", "plan"


@naming_field("spec.data")
def survey(preparations: Preparations, request: SurveyRequest, timing: Timing) -> SurveyReply:
    """List the files, find the types of columns, and cut the source into partitions, unless that is done.

    Raises DataError, SpecError, InputsChanged, StoreError.
    """
    opened = preparations.opened(request.spec)
    for name in (opened.resolved.job.spec.data.source, *opened.prepare.named_files):
        if opened.resolved.runtime != "local" and not name.startswith(_REACHABLE):
            raise DataError(
                f"{name!r} is a path, and functions elsewhere do not see your files: put them into a bucket and name "
                "it as s3://bucket/prefix"
            )
    with timing.phase("read"):
        format, files = opened.files()
        if opened.resolved.area is None or not preparations.store.exists(source_key(opened.prefix)):
            settle_files(opened.resolved, preparations.store, files)
        key = keys.preparation_plan(opened.prefix, _SURVEYED)
        try:
            document = Document.of(key, preparations.store.read(key))
            plan = preparations.plan(document)
        except ObjectMissing:
            plan = opened.parts.reader_of(format).survey(files, opened.asked)
            plan = plan.model_copy(update={"named_files": opened.named_files()})
            document = write_plan(preparations.store, key, plan)
    with naming(opened.prepare, columns_note(files, plan)):
        # What is wrong with the first steps is said before anything is read.
        opened.pipeline(plan).begin()
    return SurveyReply(
        done=True,
        plan=document,
        partitions=len(plan.partitions),
        to_scan=list(plan.to_scan),
        to_index=list(plan.to_index),
        bytes_there=sum(file.size for file in files),
        files=len(files),
        largest=max((files[number].size for number in plan.to_index), default=0),
        **timing.report(),
    )


@naming_field("spec.data")
def scan(preparations: Preparations, request: ScanRequest, timing: Timing) -> RangeReply:
    """Scan the partitions from number `first` of `plan.to_scan` on. Raises DataError, StoreError."""
    opened, plan = preparations.opened(request.spec), preparations.plan(request.plan)
    reader, files = opened.parts.reader_of(plan.format), unpacked_files(opened, plan)
    raw = 0
    for place in range(request.first, request.last):
        if not timing.may_start():
            return RangeReply(done=False, first=place, raw=raw, **timing.report())
        number = plan.to_scan[place]
        key = keys.scan(opened.prefix, number)
        if preparations.store.exists(key):
            continue
        with timing.phase("read"):
            found = reader.scan(files, plan, number)
            refuse_changed(opened.resolved, preparations.store, begun=False)
        write_once(preparations.store, key, found.encode())
    return RangeReply(done=True, first=request.last, raw=raw, **timing.report())


@naming_field("spec.data")
def begin(preparations: Preparations, request: BeginRequest, timing: Timing) -> BeginReply:
    """Make the plan exact by the scans, and begin the steps. Raises DataError, SpecError, StoreError."""
    opened, plan = preparations.opened(request.spec), preparations.plan(request.plan)
    store, document = preparations.store, request.plan
    if plan.to_scan:
        key = keys.preparation_plan(opened.prefix, _EXACT)
        with timing.phase("compute"):
            scans = [_scanned(store, keys.scan(opened.prefix, number)) for number in plan.to_scan]
            plan = opened.parts.reader_of(plan.format).cut(plan, scans)
        document = write_plan(store, key, plan)
    if not plan.partitions:
        raise DataError(f"{opened.resolved.job.spec.data.source} holds no rows")
    pipeline = opened.pipeline(plan)
    with naming(opened.prepare), timing.phase("compute"):
        state = pipeline.begin()
    return BeginReply(
        done=True,
        plan=document,
        partitions=len(plan.partitions),
        state=write_state(preparations, opened.prefix, state.record()),
        fitted=state.fitted,
        learning=in_words(pipeline, state, opened.prepare),
        passes=pipeline.least_passes(state),
        **timing.report(),
    )


def write_state(preparations: Preparations, prefix: str, record: Record) -> Document:
    """Write a state under the name that follows from it."""
    data = record.encode()
    named = Document.of("", data)
    return write_once(preparations.store, keys.preparation_state(prefix, named.sha256[:16]), data)


def _scanned(store: Store, key: str) -> Record:
    return Record.decode(bytes(store.read(key)), key)
