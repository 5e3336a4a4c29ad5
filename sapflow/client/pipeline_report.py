"""The facts of a pipeline's report, from its store and from a process that serves its model."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from sapflow.client.job_data import DataHolder, find_manifest
from sapflow.client.pipeline_plan import Document
from sapflow.client.pipeline_record import PipelineRecord
from sapflow.client.served import SECONDS, NotAnswered
from sapflow.client.session import Session
from sapflow.client.tuning import TuningSession
from sapflow.errors import ObjectMissing
from sapflow.monitoring.pipeline_report import RawColumn, RawRows, ServedFacts
from sapflow.objects import keys
from sapflow.planning.pipeline import graded
from sapflow.preparation.profile import Profile
from sapflow.preparation.record import Record
from sapflow.serving.golden import GoldenRows
from sapflow.serving.metrics import PREFIX
from sapflow.text import printable

_WORDS = 6
"""Texts of a column that are shown."""
_BUCKETS = "_bucket{"


def stages_of(record: PipelineRecord) -> list[dict[str, Any]]:
    """The forecasts of a pipeline with their grades. Raises CorruptObject, StoreError."""
    said = record.forecast()
    return [] if said is None else graded(said, record.runs())


def raw_rows_of(opened: DataHolder, source: str) -> RawRows | None:
    """What came of the raw data of a job or a search; None where none was prepared yet. Raises CorruptObject,
    StoreError."""
    manifest, prefix = find_manifest(opened), opened.data_of.data_prefix
    if manifest is None or not manifest.preparation:
        return None
    return RawRows(
        source=source,
        rows=manifest.raw_rows,
        rejected=manifest.rejected_rows,
        train=manifest.train_samples,
        validation=manifest.validation_samples,
        features=len(manifest.columns),
        task=manifest.task_for().described,
        columns=tuple(_columns(opened, keys.profile(prefix))),
        rejected_at=keys.rejected(prefix),
    )


def _columns(opened: DataHolder, key: str) -> Iterator[RawColumn]:
    try:
        profile = Profile.of_record(Record.decode(bytes(opened.store.read(key)), key), key)
    except ObjectMissing:
        return
    for name, (least, most) in profile.ranges.items():
        yield RawColumn(name, f"{least:g} to {most:g}")
    for name, words in profile.seen.items():
        more = f" and {len(words) - _WORDS:,} more" if len(words) > _WORDS else ""
        yield RawColumn(name, printable(", ".join(words[:_WORDS])) + more)


def served_of(opened: Session | TuningSession, document: Document, url: str | None) -> ServedFacts | None:
    """How the model of a pipeline is served; None where its last document says nothing of it and nobody was asked.

    Raises NotAnswered, CorruptObject, StoreError.
    """
    spec = document.spec.serve
    if spec is None and url is None:
        return None
    decision = None if spec is None else spec.decision
    said = {} if decision is None else decision.model_dump(by_alias=True, mode="json", exclude_none=True)
    requests = None if url is None else dict(_counted(url))
    return ServedFacts(_golden_rows(opened), said, url, requests)


def _golden_rows(opened: Session | TuningSession) -> int:
    key = keys.result(opened.prefix, keys.GOLDEN_ROWS)
    try:
        return len(GoldenRows.decode(opened.store.read(key), key).outputs)
    except ObjectMissing:
        return 0


def _counted(url: str) -> Iterator[tuple[str, float]]:
    """What a serving process has counted, without the buckets of histograms."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/metrics", timeout=SECONDS) as answer:
            lines = answer.read().decode().splitlines()
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise NotAnswered(f"{url} does not answer: {error}; is it served there?") from error
    for line in lines:
        name, _, value = line.rpartition(" ")
        if name.startswith(PREFIX) and _BUCKETS not in name:
            yield name.removeprefix(PREFIX), float(value)
