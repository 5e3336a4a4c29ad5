"""The driver of a search in its pod: python3 -m sapflow_operator.driver_pod.search.

Exit codes and termination message are those of a job's driver (driver.py). All trials are trained by this one process.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sapflow import logs
from sapflow.data.manifest import Manifest
from sapflow.driver.outage import Outage
from sapflow.driver.plans import Environment
from sapflow.errors import JobFailed, SpecError, StoreError
from sapflow.kube.access import ServiceAccount
from sapflow.kube.client import ApiClient, Patience
from sapflow.monitoring import metrics_server
from sapflow.mounted import MountedFiles
from sapflow.objects import keys
from sapflow.objects.stores.factory import credentials_from_environment, open_store
from sapflow.objects.stores.protocol import Store
from sapflow.runtimes.sender import Sender
from sapflow.spec import resolved_search
from sapflow.spec.resolved_search import ResolvedSearch
from sapflow.tuning import spec_record
from sapflow.tuning.actions import Action, Advance, Deleted, Event, Failed, Finished, Report, Stop
from sapflow.tuning.data_check import check_data
from sapflow.tuning.forecast.record import SearchForecast, summary
from sapflow.tuning.run import SearchRun
from sapflow.tuning.runner import TuningObserver
from sapflow.tuning.search import Results
from sapflow.tuning.trial import Trial
from sapflow.tuning.warm_start import FIELD, warm_results
from sapflow_operator import names
from sapflow_operator.driver_pod import driver
from sapflow_operator.driver_pod.data import cut_in_time
from sapflow_operator.driver_pod.driver import PATIENCE, say_waiting
from sapflow_operator.driver_pod.pool_memory import PoolMemory
from sapflow_operator.driver_pod.reports import PreparationReport, StatusApi
from sapflow_operator.driver_pod.search_progress import SearchReporter
from sapflow_operator.driver_pod.senders import sender_to
from sapflow_operator.driver_pod.settings import DriverSettings
from sapflow_operator.driver_pod.trial_objects import TrialObjects
from sapflow_operator.kinds.tuning_pool import TuningPool
from sapflow_operator.search_metrics import SearchCollector

logger = logging.getLogger("sapflow.search")

_PATIENCE = Patience(seconds=10.0, tries=2)
WARM_MERGERS = 4
"""The most mergers that are started before they are called."""


def read_search(settings: DriverSettings) -> ResolvedSearch:
    """The search of this pod, whose metadata hold its namespace and uid. Raises SpecError."""
    document = settings.read_document()
    return resolved_search.read(document, keys.job(document["metadata"]["uid"]))


class SearchLog(TuningObserver):
    """Writes what a search does to the log."""

    def __init__(self, name: str) -> None:
        self._name = name

    def opened(self, trials: Sequence[Trial]) -> None:
        self._event(logging.INFO, "opened", trials=len(trials))

    def began(self, action: Action) -> None:
        match action:
            case Advance(trial, to, parameters):
                self._event(logging.INFO, "trial advances", trial=trial, to=to, parameters=dict(parameters))
            case Stop(trial, reason):
                self._event(logging.INFO, "trial is stopped", trial=trial, reason=reason)
            case _:
                pass

    def told(self, event: Event) -> None:
        match event:
            case Report(trial, at, _, values) | Finished(trial, values, at):
                what = "trial paused" if isinstance(event, Report) else "trial finished"
                self._event(logging.INFO, what, trial=trial, at=at, values=dict(values))
            case Failed(trial, reason, message):
                self._event(logging.WARNING, "trial failed", trial=trial, reason=reason, message=message)
            case Deleted(trial):
                self._event(logging.INFO, "trial deleted", trial=trial)
            case _:
                pass

    def forecast(self, said: SearchForecast) -> None:
        self._event(logging.INFO, "forecast", **summary(said))

    def not_forecast(self, why: str) -> None:
        self._event(logging.WARNING, "no forecast", message=why)

    def finished(self, outcome: dict[str, Any]) -> None:
        self._event(logging.INFO, "ended", reason=outcome["endedBy"], forecast=outcome.get("forecast"))

    def _event(self, level: int, what: str, **fields: Any) -> None:
        logs.event(logger, level, what, job=self._name, **fields)


class Watchers(TuningObserver):
    """Several observers as one, which are told in their order."""

    def __init__(self, *observers: TuningObserver) -> None:
        self._observers = observers

    def opened(self, trials: Sequence[Trial]) -> None:
        for each in self._observers:
            each.opened(trials)

    def began(self, action: Action) -> None:
        for each in self._observers:
            each.began(action)

    def told(self, event: Event) -> None:
        for each in self._observers:
            each.told(event)

    def stage(self, text: str) -> None:
        for each in self._observers:
            each.stage(text)

    def forecast(self, said: SearchForecast) -> None:
        for each in self._observers:
            each.forecast(said)

    def not_forecast(self, why: str) -> None:
        for each in self._observers:
            each.not_forecast(why)

    def finished(self, outcome: dict[str, Any]) -> None:
        for each in self._observers:
            each.finished(outcome)


class Waits(TuningObserver):
    """How long the store may keep a search from its next event."""

    def __init__(self) -> None:
        self.outage = Outage(PATIENCE)

    def told(self, event: Event) -> None:
        self.outage = Outage(PATIENCE)


class SearchDriver:
    """Runs a search from start to end."""

    def __init__(
        self, resolved: ResolvedSearch, store: Store, sender: Sender, settings: DriverSettings
    ) -> None:
        self._resolved, self._tuning = resolved, resolved.job
        self._store, self._sender, self._settings = store, sender, settings
        self._waits = Waits()
        self._run: SearchRun | None = None

    async def run(self, api: StatusApi, objects: ApiClient) -> dict[str, Any]:
        """Search to the end, and return the outcome record. Raises SapflowError."""
        while True:
            try:
                return await self._run_once(api, objects)
            except (JobFailed, StoreError) as error:
                pause = self._waits.outage.pause_after(error)
                if pause is None:
                    raise
                say_waiting(error)
                await asyncio.sleep(pause)

    async def _run_once(self, api: StatusApi, objects: ApiClient) -> dict[str, Any]:
        """Search to the end, or to a failure that is no trial's, with everything read anew from the store."""
        registry = metrics_server.make_registry()
        name, namespace = self._tuning.metadata.name, str(getattr(self._tuning.metadata, "namespace", ""))
        async with SearchReporter(self._tuning, api) as reporter:
            registry.register(SearchCollector(lambda: [(namespace, name, reporter.seen)]))
            with metrics_server.serve(self._settings.metrics_port, registry):
                async with TrialObjects(
                    objects,
                    reporter.progress,
                    namespace=namespace,
                    search=name,
                    uid=self._resolved.uid,
                    deleted=self._delete,
                ) as shown:
                    observer = Watchers(SearchLog(name), reporter, shown, self._waits)
                    try:
                        return await self._go_on(observer, reporter, api)
                    finally:
                        # Reporter and objects tell it when they close.
                        reporter.progress.interrupted()

    def _delete(self, trial: int) -> None:
        """Have a trial stopped whose object a user has deleted."""
        if self._run is not None:
            self._run.delete(trial)

    async def _go_on(
        self, observer: TuningObserver, reporter: SearchReporter, api: StatusApi
    ) -> dict[str, Any]:
        """Search from the store's state to the end."""
        tuning, template, ends = self._tuning, self._resolved.template, self._settings.deadline
        most = min(self._settings.max_instances or tuning.spec.max_workers, tuning.spec.max_workers)
        # What the cut finds out about the template's model is no trial's: each has its own counted.
        images = self._settings.images or None
        environment = Environment("kubernetes", most, None, images=images, of_search=True)
        self._run = run = SearchRun(
            tuning,
            template,
            lambda sender: self._cut(sender, reporter.preparation),
            self._store,
            self._sender,
            environment,
            observer,
            lambda failed: memory.grow(failed),
            ends=None if ends is None else ends.timestamp(),
            resized=reporter.resized,
            forecasts=True,
        )
        memory = PoolMemory(api, template.job.memory_bytes, run.calls)
        await memory.take_in()
        reporter.attach(run.calls, lambda: run.common_dollars, lambda: run.seconds)
        return await run.run(await self._warm())

    async def _warm(self) -> Results:
        """The results of the search that `warmStartFrom` names. Raises SpecError, StoreError."""
        name, uid = self._tuning.spec.warm_start_from, self._resolved.warm_start
        if name is None:
            return ()
        if uid is None:
            remedy = "delete this search and create it again, or leave the field out"
            raise SpecError([(FIELD, f"is {name!r}, which was not found when the search began: {remedy}")])
        return await warm_results(self._store, self._resolved, uid)

    async def _cut(self, sender: Sender, told: PreparationReport) -> Manifest:
        """Have functions prepare or cut the data that all trials share, and examine the template's model; once in a
        search.

        Raises JobFailed, also at the search's deadline, and StoreError.
        """
        template, ends = self._resolved.template, self._settings.deadline
        spec = await asyncio.to_thread(spec_record.write_spec, self._resolved, self._store)
        cut = await cut_in_time(
            template,
            self._store,
            sender,
            told,
            begun=keys.commit(keys.trial(template.prefix, 0), 0),
            ends=None if ends is None else ends.timestamp(),
            limit=TuningPool.deadline_field,
            spec=spec,
            at_once=self._tuning.spec.max_workers,
        )
        told.ends()
        check_data(self._tuning, cut.manifest)
        return cut.manifest


async def drive(settings: DriverSettings, environ: Mapping[str, str]) -> dict[str, Any]:
    """Run the search of this pod; the outcome record. Raises SapflowError."""
    resolved = read_search(settings)
    tuning = resolved.job
    name = tuning.metadata.name
    namespace = str(getattr(tuning.metadata, "namespace", ""))
    logs.event(logger, logging.INFO, "started", job=name)
    store = open_store(settings.store, credentials_from_environment(environ))
    token = MountedFiles([settings.token_file])
    pool = names.TUNING_JOB.pool(name)
    most = TuningPool.instances_of(tuning)
    sender = sender_to(pool, namespace, most, lambda: token.texts()[0])
    api = StatusApi(
        settings.api_url,
        settings.service_account,
        resource=names.TUNING_JOB,
        namespace=namespace,
        name=name,
        uid=resolved.uid,
    )
    # While a worker cuts the data.
    sender.start({"merger": min(WARM_MERGERS, most["merger"])})
    objects = ApiClient(ServiceAccount(settings.api_url, settings.service_account), _PATIENCE)
    try:
        try:
            return await SearchDriver(resolved, store, sender, settings).run(api, objects)
        finally:
            await sender.close()
    finally:
        await asyncio.to_thread(store.close)


if __name__ == "__main__":
    sys.exit(driver.main(os.environ, drive))
