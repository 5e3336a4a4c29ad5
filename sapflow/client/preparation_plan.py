"""The forecast of a preparation before it starts: its first partitions are prepared by real functions of this machine,
into a store that is thrown away."""

import asyncio
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sapflow.client.background import run_apart
from sapflow.client.session import local_functions
from sapflow.data.manifest import Manifest
from sapflow.driver import preparation
from sapflow.driver.preparation_forecast import learns_order
from sapflow.messages.preparation import MERGED_AT_ONCE, PartitionReply, RangeReply, SurveyReply
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.planning.preparation import (
    PreparationForecast,
    PreparationPlace,
    RehearsedCall,
    RehearsedPreparation,
    forecast,
)
from sapflow.planning.workload import constants_of
from sapflow.preparation.reading.reader import PARTITION_BYTES
from sapflow.quantities.roles import Role
from sapflow.runtimes.embedded.runtime import available_cores
from sapflow.runtimes.sender import Answered
from sapflow.spec.preparation.step import StepSpec
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.sources import beside
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.steps.observer import Observer

PARTITIONS = 2
"""So many are rehearsed; others are taken to be like them."""


@dataclass(frozen=True, slots=True)
class PlannedPreparation:
    """What the preparation of a job's data is expected to take, and what it is expected to give."""

    forecast: PreparationForecast
    rehearsed: Manifest
    """Of the rehearsed partitions, whose blocks lie in the store of the rehearsal."""
    expected: Manifest
    """Of the whole source, if its other partitions have as many samples."""

    @property
    def complete(self) -> bool:
        """Whether the rehearsal was of the whole source."""
        return self.forecast.partitions <= self.forecast.rehearsed_partitions


def reachable(job: TrainingJob, store: str) -> TrainingJob:
    """The job, whose files in a bucket are found without the store at this URL: with its endpoint, where they name
    none."""
    data = job.spec.data
    prepare = data.prepare
    if prepare is not None and prepare.steps is not None:
        steps = [_reachable(each, store) for each in prepare.steps]
        prepare = prepare.model_copy(update={"steps": steps})
    data = data.model_copy(update={"source": beside(data.source, store), "prepare": prepare})
    return job.model_copy(update={"spec": job.spec.model_copy(update={"data": data})})


def _reachable(step: StepSpec, store: str) -> StepSpec:
    if step.tokens is None or step.tokens.tokenizer is None:
        return step
    named = step.tokens.model_copy(update={"tokenizer": beside(step.tokens.tokenizer, store)})
    return step.model_copy(update={"tokens": named})


def of_job(
    job: TrainingJob,
    environ: Mapping[str, str],
    *,
    asked: str,
    runtime: Runtime,
    instances: int | None,
) -> PlannedPreparation:
    """What the preparation of a job is expected to take where it is to run; see `planned`. Raises JobFailed, DataError,
    StoreError."""
    with (
        tempfile.TemporaryDirectory(prefix="sapflow-plan-") as folder,
        closing(open_store(Path(folder).as_uri())) as store,
    ):
        work = planned(
            ResolvedJob(reachable(job, asked), keys.job("plan")),
            store,
            environ,
            asked=asked,
            runtime=runtime,
            at_once=at_once_of(job, runtime, instances),
        )
        return run_apart(work)


async def planned(
    resolved: ResolvedJob,
    store: Store,
    environ: Mapping[str, str],
    *,
    asked: str,
    runtime: Runtime,
    at_once: int,
    tell: Callable[[str], None] = lambda text: None,
) -> PlannedPreparation:
    """Rehearse the preparation of a job whose files are `reachable`, in a store that is thrown away, and forecast it.

    `asked` is the URL of the store that it is to write to, and `at_once` the functions at work there. Raises JobFailed,
    DataError, StoreError.
    """
    job, meter, began = resolved.job, _Meter(), time.monotonic()
    tell("rehearsing the preparation of the first partitions")
    functions = local_functions(job, store.url, environ, 1)
    try:
        made = await preparation.prepare(resolved, store, functions, meter, at_once=1, beginning=PARTITIONS)
    finally:
        await asyncio.shield(functions.close())
    found = meter.rehearsed(time.monotonic() - began, made.account.cost_usd)
    place = PreparationPlace(
        here=constants_of(store.url, "local"),
        there=constants_of(asked, runtime),
        at_once=at_once,
        price=job.price,
        memory=job.memory_bytes["preparer"],
        cpus=job.cpus["preparer"],
        calls_each=preparation.CALLS_EACH,
        fan_in=MERGED_AT_ONCE,
        starts=runtime == "local",
        learns_order=learns_order(job.spec.data.prepare),
    )
    said = forecast(found, place, job.spec.algorithm.seed)
    return PlannedPreparation(said, made.manifest, _times(made.manifest, found.size / found.rehearsed))


def at_once_of(job: TrainingJob, runtime: Runtime, instances: int | None, most: int | None = None) -> int:
    """The functions that are at work at once in the preparation of a job, or of a search with `most` workers."""
    wanted = most or job.spec.workers
    room = instances or (available_cores() if runtime == "local" else wanted)
    return max(1, min(wanted, room))


def _times(manifest: Manifest, times: float) -> Manifest:
    """The manifest with so many times the blocks."""

    def blocks(some: tuple[int, ...]) -> tuple[int, ...]:
        return some * int(times) + some[: round((times - int(times)) * len(some))]

    return replace(manifest, train=blocks(manifest.train), validation=blocks(manifest.validation))


class _Meter(Observer):
    """Keeps what each call takes."""

    def __init__(self) -> None:
        self._calls: defaultdict[str, list[RehearsedCall]] = defaultdict(list)
        self._survey: SurveyReply | None = None
        self._cut: PartitionReply | None = None
        self._start = 0.0
        self._raw = self._indexed = 0

    def answered(self, role: Role, op: str, answer: Answered[Any]) -> None:
        reply = answer.reply
        self._calls[op].append(RehearsedCall(answer.seconds, reply.bytes.read, reply.bytes.written))
        self._start += answer.cold_seconds
        if isinstance(reply, SurveyReply):
            self._survey = reply
        elif isinstance(reply, PartitionReply):
            self._cut = reply
        elif isinstance(reply, RangeReply) and op == "parse":
            self._raw += reply.raw
        elif isinstance(reply, RangeReply) and op == "index" and reply.done:
            self._indexed += reply.raw

    def rehearsed(self, seconds: float, dollars: float) -> RehearsedPreparation:
        assert self._survey is not None, "it is the first call"
        survey = self._survey
        cut = self._cut or survey
        return RehearsedPreparation(
            files=survey.files,
            bytes=survey.bytes_there,
            partitions=cut.partitions,
            rehearsed=min(PARTITIONS, cut.partitions),
            bytes_rehearsed=self._raw if cut is survey and _says_bytes(self._raw, survey) else 0,
            to_scan=len(cut.to_scan),
            calls=dict(self._calls),
            start_seconds=self._start,
            seconds=seconds,
            dollars=dollars,
            indexed_files=len(survey.to_index),
            largest_share=survey.largest / max(1, survey.bytes_there),
            indexed_partitions=self._indexed / PARTITION_BYTES,
        )


def _says_bytes(raw: int, survey: SurveyReply) -> bool:
    """Whether pieces of the source are counted in bytes: row groups and files are far fewer than bytes."""
    mean = survey.bytes_there / max(1, survey.partitions)
    return raw > 0.05 * mean * min(PARTITIONS, survey.partitions)
