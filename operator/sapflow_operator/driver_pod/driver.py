"""The driver of a job in its pod: python3 -m sapflow_operator.driver_pod.driver.

With exit code 0 the job has succeeded. With 3 (names.EXIT_FAILED) it cannot continue, and the pod's termination message
has the cause as {"reason", "message", "version", "model"}. With any other code the driver ended early, and the next one
continues from the last commit.
"""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sapflow import logs
from sapflow.data.cut import check_data
from sapflow.data.manifest import Manifest
from sapflow.driver.driver import Driver
from sapflow.driver.failures import goes_on_after
from sapflow.driver.outage import LOST_OBJECTS, Outage, through_outages
from sapflow.driver.plans import Environment
from sapflow.driver.sweep import sweep_failed, sweep_stopped, sweep_up
from sapflow.errors import JobFailed, SapflowError, StoreUnavailable
from sapflow.monitoring import metrics_server
from sapflow.monitoring.metrics import MetricsObserver
from sapflow.mounted import MountedFiles
from sapflow.objects import keys
from sapflow.objects.stores.factory import credentials_from_environment, open_store
from sapflow.objects.stores.protocol import Store
from sapflow.objects.stores.s3_failures import ACCESS_DENIED
from sapflow.planning.extent import Extent
from sapflow.planning.placement import Placement
from sapflow.quantities.roles import Role
from sapflow.records.commits import Records
from sapflow.runtimes.cells import CellSender
from sapflow.runtimes.sender import Sender
from sapflow.spec.resolved import ResolvedJob
from sapflow.steps.observer import Observer, Observers
from sapflow_operator import names
from sapflow_operator.driver_pod.data import cut_in_time
from sapflow_operator.driver_pod.log import DriverLog
from sapflow_operator.driver_pod.progress import ProgressReporter
from sapflow_operator.driver_pod.reports import StatusApi
from sapflow_operator.driver_pod.senders import sender_to
from sapflow_operator.driver_pod.settings import DriverSettings
from sapflow_operator.driver_pod.stopped_model import StoppedModel

logger = logging.getLogger("sapflow.driver")

EXIT_CRASHED = 1
WOKEN = 4
"""The most mergers that are started before they are called."""
STOPPED = 128 + signal.SIGTERM
_LONGEST_WORD = 4096
"""The longest termination message in bytes that Kubernetes keeps."""
PATIENCE = {
    StoreUnavailable.reason: 600.0,
    ACCESS_DENIED: 60.0,
    **LOST_OBJECTS,
}
"""How long a driver waits without a commit, in seconds, if the store is unavailable, renewed credentials are on their
way to the pods, or objects seem to be missing, as may happen while a store starts. These are no failures of the job;
every other error is."""

Result = TypeVar("Result")


def say_waiting(error: SapflowError) -> None:
    """Write into the log what a driver waits for."""
    logs.event(logger, logging.WARNING, "waiting", reason=error.reason, message=str(error))


class JobDriver:
    """Runs the driver of a job from start to end."""

    def __init__(
        self,
        resolved: ResolvedJob,
        store: Store,
        sender: Sender,
        settings: DriverSettings,
        placed: Placement | None = None,
    ) -> None:
        self._resolved, self._job = resolved, resolved.job
        self._store, self._sender, self._settings = store, sender, settings
        self._placed = placed
        self._registry = metrics_server.make_registry()
        self._metrics = MetricsObserver(self._job, self._registry)
        self._outage = Outage(PATIENCE)
        self._records = Records(store, resolved.prefix)
        self._manifest: Manifest | None = None

    async def run(self, api: StatusApi) -> dict[str, Any]:
        """Train to the end, and return the outcome record. Raises SapflowError."""
        if await api.has_begun():
            self._outage.expect(0)
        with metrics_server.serve(self._settings.metrics_port, self._registry):
            searches = self._resolved.search is not None
            async with ProgressReporter(self._job, api, searches=searches) as reporter:
                observer = Observers(
                    self._outage, self._metrics, DriverLog(self._job.metadata.name), reporter
                )
                try:
                    return await through_outages(
                        self._outage,
                        self._records,
                        lambda stopped: self._go_on(observer, reporter, stopped),
                        waiting=say_waiting,
                    )
                except asyncio.CancelledError:
                    if self._manifest is not None and await api.is_suspended():
                        model = StoppedModel(self._resolved, self._manifest, self._store, self._sender)
                        await model.leave(reporter.stopped)
                    raise

    async def _go_on(
        self, observer: Observer, reporter: ProgressReporter, stopped: str | None
    ) -> dict[str, Any]:
        """Train from the store's state to the end. `stopped` is why the last try failed."""
        ends = None if self._settings.deadline is None else self._settings.deadline.timestamp()
        cut_data = await cut_in_time(
            self._resolved,
            self._store,
            self._sender,
            observer,
            begun=keys.commit(self._resolved.prefix, 0),
            ends=ends,
            limit=f"spec.limits.deadlineSeconds ({self._job.spec.limits.deadline_seconds})",
        )
        self._manifest = manifest = cut_data.manifest
        check_data(self._job, manifest)
        extent = Extent.of(self._job, manifest.train_samples)
        self._metrics.begin(extent)
        reporter.begin(extent)
        environment = Environment(
            self._resolved.runtime,
            self._settings.max_instances or None,
            cut_data.forward_flops,
            images=self._settings.images or None,
        )
        driver = Driver(
            self._resolved,
            manifest,
            self._store,
            self._sender,
            observer,
            cut_data.account,
            environment,
            self._placed,
            stopped,
            ends,
            self._job.spec.workers,
        )
        return await driver.run()


async def drive(settings: DriverSettings, environ: Mapping[str, str]) -> dict[str, Any]:
    """Train the job of this pod; the outcome record. Raises SapflowError."""
    resolved = settings.read_job()
    job = resolved.job
    logs.event(logger, logging.INFO, "started", job=job.metadata.name)
    name, namespace = job.metadata.name, str(getattr(job.metadata, "namespace", ""))
    store = open_store(settings.store, credentials_from_environment(environ))
    token = MountedFiles([settings.token_file])
    placed = settings.read_placement()
    cells: list[int | None] = [None] if placed is None else [*range(placed.count)]
    instances = [job.instances if placed is None else placed.instances(cell or 0) for cell in cells]
    senders = [
        sender_to(name, namespace, most, lambda: token.texts()[0], cell)
        for cell, most in zip(cells, instances, strict=True)
    ]
    everywhere: dict[Role, Sender] = {}
    if placed is not None and (preparers := job.instances.get("preparer")):
        everywhere["preparer"] = sender_to(name, namespace, {"preparer": preparers}, lambda: token.texts()[0])
    sender = CellSender(senders, everywhere)
    api = StatusApi(
        settings.api_url,
        settings.service_account,
        resource=names.TRAINING_JOB,
        namespace=namespace,
        name=name,
        uid=resolved.uid,
    )
    # While a worker cuts the data. More would only take its CPU: a few may serve all that the first step asks.
    for each, most in zip(senders, instances, strict=True):
        each.start({"merger": min(WOKEN, job.first_mergers if job.planned else most["merger"])})
    try:
        failed = False
        try:
            outcome = await JobDriver(resolved, store, sender, settings, placed).run(api)
        except JobFailed as error:
            failed = not goes_on_after(error)
            raise
        finally:
            await sender.close()
            if failed:
                await sweep_failed(resolved, store)
        # What calls that were given up have written since the job's end.
        await sweep_up(resolved, store)
        await sweep_stopped(resolved.prefix, store)
    finally:
        await asyncio.to_thread(store.close)
    return outcome


def main(
    environ: Mapping[str, str],
    work: Callable[[DriverSettings, Mapping[str, str]], Coroutine[Any, Any, Any]] = drive,
) -> int:
    """The driver's exit code; `work` is what it drives."""
    logs.configure(role=names.DRIVER)
    try:
        settings = DriverSettings.from_environment(environ)
    except SapflowError as error:
        logs.event(logger, logging.ERROR, "failed", reason=error.reason, message=str(error))
        return EXIT_CRASHED
    logs.configure(settings.log_level, role=names.DRIVER)
    return exit_code_of(lambda: work(settings, environ), settings.termination_log)


def exit_code_of(work: Callable[[], Coroutine[Any, Any, Any]], termination_log: Path) -> int:
    """Run `work` to its end, or until a signal ends it; the exit code that says which."""
    try:
        asyncio.run(until_stopped(work()))
    except asyncio.CancelledError:
        logs.event(logger, logging.INFO, "stopped")
        return STOPPED
    except SapflowError as error:
        logs.event(logger, logging.ERROR, "failed", reason=error.reason, message=str(error))
        if goes_on_after(error):
            return EXIT_CRASHED
        leave_word(termination_log, error)
        return names.EXIT_FAILED
    return names.EXIT_SUCCEEDED


async def until_stopped(work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work`, which SIGTERM and SIGINT cancel. Raises CancelledError then."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    return await task


def leave_word(termination_log: Path, error: SapflowError) -> None:
    """Write the pod's termination message, which the operator reads."""
    version, model = (error.version, error.model) if isinstance(error, JobFailed) else (-1, None)
    # A traceback of the user's code is behind the first line, which names the code's last.
    message = str(error).partition("\nTraceback ")[0]
    while len(word := _word(error.reason, message, version, model)) > _LONGEST_WORD:
        message = message[: len(message) * 3 // 4]
    with suppress(OSError):
        termination_log.write_bytes(word)


def _word(reason: str, message: str, version: int, model: str | None) -> bytes:
    body = {"reason": reason, "message": message, "version": version} | ({"model": model} if model else {})
    return json.dumps(body, ensure_ascii=False).encode()


if __name__ == "__main__":
    sys.exit(main(os.environ))
