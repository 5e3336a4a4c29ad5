"""The forecast of a search before anything of it starts: real steps of two trials, in a store that is thrown away."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from sapflow.client import preparation_plan, survey
from sapflow.client.session import local_functions, store_url
from sapflow.data import cut
from sapflow.data.chunks import Chunk, Source
from sapflow.data.manifest import Manifest
from sapflow.data.shared_data import finder
from sapflow.data.source import open_data
from sapflow.driver.plans import Environment
from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.planning.workload import constants_of
from sapflow.runtimes.embedded.runtime import available_cores
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import Runtime
from sapflow.spec.tuning_job import TuningJob
from sapflow.spec.tuning_problems import of_template
from sapflow.steps.calls import Caller
from sapflow.training import estimate
from sapflow.tuning.data_check import check_data
from sapflow.tuning.forecast.forecaster import Forecaster, Stage, Used
from sapflow.tuning.forecast.of_run import measure_by
from sapflow.tuning.forecast.record import SearchForecast
from sapflow.tuning.forecast.rehearsal import Rehearsal
from sapflow.tuning.forecast.work import Place

CUT_BYTES = 64 << 20
"""Bytes of features that are cut of a source that is too large to be read whole."""
_UID = "plan"


def forecast(
    job: TuningJob,
    environ: Mapping[str, str],
    *,
    runtime: Runtime = "local",
    instances: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> SearchForecast:
    """Rehearse the cheapest and the dearest trial on this machine, and forecast the search where it is to run.

    `instances` are the functions that can be at work at once there; None: this machine's cores, or in a cluster any
    number. `tell` is told of each stage. Raises SpecError, DataError, JobFailed, StoreError.
    """
    asked = store_url(job.template, None)
    tell("reading the data")
    found = survey.survey(job.template.spec.data, asked, job.template.spec.algorithm.seed)
    check_data(job, found.manifest)
    raw = job.template.spec.data.prepare is not None
    if not found.complete and job.template.spec.algorithm.steps is None and not raw:
        raise SpecError([("spec.template.spec.algorithm.epochs", _UNCOUNTED)])
    if not raw:
        check_model(job, found.manifest, environ, runtime, tell)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sapflow-plan-"))
        store = open_store(Path(folder).as_uri())
        stack.callback(store.close)
        template = ResolvedJob(preparation_plan.reachable(job.template, asked), keys.job(_UID))
        if raw:
            return asyncio.run(_of_raw(job, template, store, environ, runtime, instances, asked, tell))
        source = None if found.complete else beginning(open_data(job.template.spec.data, finder(asked)))
        manifest = cut.cut(template, store, source=source)
        return asyncio.run(of_data(job, template, manifest, store, environ, runtime, instances, asked, tell))


def check_model(
    job: TuningJob,
    manifest: Manifest,
    environ: Mapping[str, str],
    runtime: Runtime,
    tell: Callable[[str], None],
) -> None:
    """Raise SpecError, with fields of the template, where its model cannot be trained on such data."""
    tell("building the template's model")
    try:
        # Apart from the functions, whose memory may be too little for it.
        estimate.measure_apart(job.template, manifest, environ, runtime)
    except SpecError as error:
        raise of_template(error) from error


async def _of_raw(
    job: TuningJob,
    template: ResolvedJob,
    store: Store,
    environ: Mapping[str, str],
    runtime: Runtime,
    instances: int | None,
    asked: str,
    tell: Callable[[str], None],
) -> SearchForecast:
    """The same where raw data is to be prepared: what that takes comes first, and off the search's limits."""
    most = job.spec.max_workers if runtime == "local" else None
    made = await preparation_plan.planned(
        template,
        store,
        environ,
        asked=asked,
        runtime=runtime,
        at_once=preparation_plan.at_once_of(job.template, runtime, instances, most),
        tell=tell,
    )
    await asyncio.to_thread(check_model, job, made.rehearsed, environ, runtime, tell)
    before = Used(made.forecast.seconds.p50, made.forecast.cost_usd.p50)
    said = await of_data(
        job,
        template,
        made.rehearsed,
        store,
        environ,
        runtime,
        instances,
        asked,
        tell,
        expected=made.expected,
        used=before,
    )
    return said.model_copy(update={"preparation": made.forecast})


_UNCOUNTED = (
    "makes a number of steps that is not known without reading all the data: give algorithm.steps instead, or run the "
    "search, which is forecast once its data is cut"
)


async def of_data(
    job: TuningJob,
    template: ResolvedJob,
    manifest: Manifest,
    store: Store,
    environ: Mapping[str, str],
    runtime: Runtime,
    instances: int | None,
    asked: str,
    tell: Callable[[str], None],
    *,
    expected: Manifest | None = None,
    used: Used | None = None,
) -> SearchForecast:
    """The forecast of a search whose template's data lies in a store that is thrown away.

    `manifest` is that of the data there, `expected` that of all the data, where that is more; `used` is off the
    search's limits before. Raises SpecError, DataError, JobFailed, StoreError.
    """
    functions = local_functions(job.template, store.url, environ, None)
    try:
        prefix = keys.rehearsal(template.prefix)
        environment = Environment("local", functions.max_instances, None, of_search=True)
        rehearsal = Rehearsal(prefix, template, manifest, store, functions, environment)
        here = Place(constants_of(store.url, "local"), "local", functions.max_instances)
        there = Place(constants_of(asked, runtime), runtime, instances or _at_once(runtime))
        alike = there.constants == here.constants and there.runtime == here.runtime
        stage = Stage(
            here if not alike else replace(here, instances=there.instances),
            None if alike else there,
            available_cores(),
            cold=runtime == "local",
        )
        measure = measure_by(Caller.of(job.template, functions), template, store, prefix, runtime)
        return await Forecaster(job, expected or manifest, measure, stage, used).forecast(rehearsal, tell)
    finally:
        await asyncio.shield(functions.close())


def _at_once(runtime: Runtime) -> int | None:
    return available_cores() if runtime == "local" else None


def beginning(source: Source) -> Source:
    """The first samples of a source."""

    def chunks() -> Iterator[Chunk]:
        size = 0
        for chunk in source.chunks():
            yield chunk
            size += chunk.features.nbytes
            if size >= CUT_BYTES:
                return

    validation = None if source.validation is None else beginning(source.validation)
    return replace(source, chunks=chunks, validation=validation)
