"""A local run of a TuningJob: its place in a store, its data, its functions, and what it has found."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.client import data_place, inputs, job_data, preparation, trials
from sapflow.client.session import (
    DEFAULT_STORE,
    Session,
    absolute,
    local_functions,
    open_store_of,
    uid_named,
)
from sapflow.data import cut
from sapflow.data.chunks import Source
from sapflow.data.manifest import Manifest, manifest_key
from sapflow.driver.plans import Environment
from sapflow.errors import InputsChanged, SapflowError, SpecError
from sapflow.messages.documents import Document
from sapflow.monitoring.tuning_progress import TuningProgress
from sapflow.objects import keys
from sapflow.objects.documents import read_json
from sapflow.objects.stores.factory import credentials_for, open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records import numerics, shared_area
from sapflow.records.commits import Records
from sapflow.runtimes.embedded.runtime import available_cores
from sapflow.runtimes.sender import Sender
from sapflow.spec import resolved
from sapflow.spec.resolved import AREA_FIELD, ResolvedJob
from sapflow.spec.resolved_search import RAISABLE, ResolvedSearch
from sapflow.spec.training_job import Runtime
from sapflow.spec.tuning_job import TuningJob
from sapflow.spec.tuning_problems import of_template
from sapflow.training import estimate
from sapflow.tuning import spec_record
from sapflow.tuning.data_check import check_data
from sapflow.tuning.forecast import of_run
from sapflow.tuning.forecast.record import SearchForecast
from sapflow.tuning.run import SearchRun, state_of
from sapflow.tuning.runner import TuningObserver
from sapflow.tuning.search import Results
from sapflow.tuning.spec_record import read_spec
from sapflow.tuning.warm_start import warm_results


def uid_of(job: TuningJob) -> str:
    """A search's name in a store, which is the same for the same YAML, whatever its limits are."""
    spec = {name: value for name, value in job.to_json()["spec"].items() if name not in (*RAISABLE, "serve")}
    return f"{job.metadata.name}-{keys.digest(spec, 8)}"


@dataclass(frozen=True)
class TuningSession:
    """A search in a store. As a context manager it closes the store at the end."""

    uid: str
    job: TuningJob
    store: Store
    url: str
    runtime: Runtime = "local"
    """Where the search runs, or ran."""

    def __enter__(self) -> "TuningSession":
        return self

    def __exit__(self, *exc: object) -> None:
        self.store.close()

    @property
    def prefix(self) -> str:
        """The common beginning of the search's keys."""
        return keys.job(self.uid)

    @property
    def resolved(self) -> ResolvedSearch:
        """The search as its functions read it."""
        return ResolvedSearch(self.job, self.prefix, self.runtime, area=self.area)

    @property
    def template(self) -> ResolvedJob:
        """The template as a job whose data is the search's."""
        return self.resolved.template

    @property
    def data_of(self) -> ResolvedJob:
        """The job whose data it is: the template."""
        return self.template

    @property
    def area(self) -> str | None:
        """The shared area that has the data of all trials; None if it has none, or is not there yet."""
        try:
            named = resolved.area_of(self._json(keys.search_area(self.prefix)))
            return named or resolved.area_of(self._json(keys.spec(self.prefix)))
        except ValueError:
            return None  # which is refused where it is used

    @property
    def as_job(self) -> Session:
        """The template as a job whose data is the search's. Closing it closes the store."""
        return Session(self.uid, self.job.template, self.store, self.url)

    def trial(self, number: int | None) -> Session:
        """A trial as a job, by its number or, with None, the best one. Closing it closes the store.

        Raises DataError if there is no such trial, or it has no version yet, and StoreError.
        """
        uid = trials.trial_uid(self.store, self.resolved, number)
        prefix = keys.job(uid)
        document = self._json(keys.spec(prefix))
        if document is None:
            raise trials.unknown_trial(self.store, self.resolved, number or 0)
        found = resolved.read(document, prefix)
        own = found.area is not None or self.store.exists(manifest_key(keys.data(prefix)))
        shared = None if own else self.template.data_prefix
        return Session(uid, found.job, self.store, self.url, found.runtime, shared_data=shared)

    def outcome(self) -> dict[str, Any] | None:
        """The outcome record of a search that has ended; it may be an earlier one, where limits were raised since."""
        found: dict[str, Any] | None = self._json(keys.result(self.prefix, "outcome.json"))
        return found

    def started(self) -> bool:
        """Whether a trial has a first version."""
        return self.store.exists(keys.commit(keys.trial(self.prefix, 0), 0))

    def forecast(self) -> SearchForecast | None:
        """What was forecast before the first trial; None if nothing was."""
        return asyncio.run(of_run.recorded(Records(self.store, self.prefix)))

    def forget(self) -> None:
        """Remove everything of this search, its data too, unless a job or another search uses it. If that is
        interrupted, the search has not begun."""
        self.store.delete_prefix(keys.search_log(self.prefix))
        self.store.delete([keys.result(self.prefix, "outcome.json")])
        self.store.delete([manifest_key(keys.data(self.prefix))])
        if (area := self.area) is not None:
            shared_area.leave(self.store, area, self.uid)
        # The record that names the area goes after the area.
        self.store.delete_prefix(self.prefix)

    def write_spec(self) -> Document:
        """Write the search's spec where other commands find it. Raises AlteredObject if another one lies there."""
        return spec_record.write_spec(self.resolved, self.store)

    def check_inputs(self, environ: Mapping[str, str]) -> None:
        """Raise InputsChanged, or OtherNumerics, if trials were begun with other data, code or numerics than now."""
        template = self.template
        found = self._json(manifest_key(template.data_prefix))
        if found is not None:
            numerics.check(self.uid, found.get("numerics"), what="the cut data", cluster=False)
        if not self.started():
            return
        if changed := inputs.changed_data(template, self.store):
            raise InputsChanged(cut.data_changed(self.uid, changed))
        inputs.check(self.trial(0), environ)

    def manifest(self) -> Manifest | None:
        """The manifest of the search's data, or None if it is not cut yet."""
        return job_data.find_manifest(self)

    def settle(self, source: Source | None = None) -> ResolvedJob:
        """Write down where the data of all trials lies, and make the search a user of the area that it shares, as
        `Session.settle` does. Raises DataError, AlteredObject, StoreError."""
        key = keys.search_area(self.prefix)

        def record(area: str | None) -> None:
            if area is not None:
                self.store.create(key, json.dumps({AREA_FIELD: area}).encode(), durable=True)

        before = self.area
        place = data_place.settle(
            self.store,
            self.uid,
            self.job.template,
            before=before,
            apart=before is None and self.store.exists(manifest_key(keys.data(self.prefix))),
            started=self.started,
            record=record,
            record_key=key,
            source=source,
        )
        return ResolvedJob(self.job.template, self.prefix, area=place)

    def _json(self, key: str) -> Any | None:
        return read_json(self.store, key)


def open_tuning(
    job: TuningJob, environ: Mapping[str, str], *, store: str | None = None, probe: bool = True
) -> TuningSession:
    """A search's session on its store. `probe` tests the store by writing; only readers may omit that.

    Raises StoreError, StoreUnsafe, StoreUnavailable.
    """
    url, opened = open_store_of(job.template, environ, store=store, probe=probe)
    return TuningSession(uid_of(job), job, opened, url)


def find_tuning(uid: str, environ: Mapping[str, str], *, store: str | None = None) -> TuningSession | None:
    """The search of this uid in a store, for reading; None if what the store has under it is none.

    Raises StoreError, and SpecError if its spec is of another release.
    """
    url = absolute(store or DEFAULT_STORE)
    opened = open_store(url, credentials_for(url, environ))
    try:
        found = read_spec(opened, uid)
        if found is not None:
            return TuningSession(uid, found.job, opened, url, found.runtime)
    except SapflowError:
        opened.close()
        raise
    opened.close()
    return None


def prepare(
    opened: TuningSession,
    environ: Mapping[str, str],
    stage: Callable[[str], None],
    progress: Callable[[int], None] | None = None,
    source: Source | None = None,
) -> Manifest | None:
    """Cut the data once for all trials, and check the template against it, also once. For `source` see `cut.cut`.

    None where raw data is to be prepared by functions, which `search` has them do within the search's limits.

    Raises SpecError, DataError, StoreError, InputsChanged, OtherNumerics.
    """
    opened.check_inputs(environ)
    manifest = job_data.find_or_cut(opened, stage, progress, source)[1]
    opened.write_spec()
    if manifest is not None and not opened.started():
        _check(opened, manifest, environ, stage)
    return manifest


def _check(
    opened: TuningSession, manifest: Manifest, environ: Mapping[str, str], stage: Callable[[str], None]
) -> None:
    """Check a search that has not begun against its data. Raises SpecError."""
    stage("checking the template's model against data and memory")
    check_data(opened.job, manifest)
    try:
        estimate.examine_apart(opened.job.template, manifest, environ)
    except SpecError as error:
        raise of_template(error) from error


async def search(
    opened: TuningSession,
    manifest: Manifest | None,
    environ: Mapping[str, str],
    observer: TuningObserver | None = None,
    *,
    max_instances: int | None = None,
    ready: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Run a search on local functions, which all trials share; the outcome record. `manifest` is that of its data, as
    `prepare` has returned it; `ready` is called where the data is in blocks.

    Raises JobFailed where it has found nothing, or something else than a trial has failed, and StoreError; where it
    has raw data prepared, also SpecError, DataError.
    """
    runtime = local_functions(opened.job.template, opened.url, environ, max_instances)
    environment = Environment("local", runtime.max_instances, None, of_search=True)
    shown = observer or TuningObserver()

    async def prepared(sender: Sender) -> Manifest:
        spec = await asyncio.to_thread(opened.write_spec)
        made = await preparation.by_functions(
            opened.template,
            opened.store,
            sender,
            shown,
            spec=spec,
            at_once=opened.job.spec.max_workers,
            recorded=True,
        )
        if not await asyncio.to_thread(opened.started):
            await asyncio.to_thread(_check, opened, made.manifest, environ, shown.stage)
        ready()
        return made.manifest

    if manifest is not None:
        ready()
    try:
        warm = await _warm(opened)
        run = SearchRun(
            opened.job,
            opened.template,
            prepared if manifest is None else manifest,
            opened.store,
            runtime,
            environment,
            observer,
            forecasts=True,
            cores=available_cores(),
        )
        return await run.run(warm)
    finally:
        await asyncio.shield(runtime.close())


async def _warm(opened: TuningSession) -> Results:
    """The results of the search that `warmStartFrom` names. Raises SpecError, DataError, StoreError."""
    name = opened.job.spec.warm_start_from
    if name is None:
        return ()
    uid = await asyncio.to_thread(uid_named, name, opened.url)
    return await warm_results(opened.store, opened.resolved, uid)


def progress_of(opened: TuningSession) -> tuple[TuningProgress, str | None]:
    """How far a search is, and why it has ended; None if it has not."""
    state = asyncio.run(state_of(opened.store, opened.prefix, opened.job))
    progress = TuningProgress(opened.job)
    progress.opened(state.trials)
    progress.common = state.common
    return progress, None if state.over is None else state.over.reason
