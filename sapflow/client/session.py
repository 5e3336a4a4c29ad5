"""A local run of a TrainingJob: its place in a store, cutting its data, and training with local processes."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from sapflow.client import data_place, searched, trials
from sapflow.data import cut
from sapflow.data.blocks import Manifest
from sapflow.data.chunks import Source
from sapflow.data.cut import check_data as check_data
from sapflow.data.manifest import manifest_key
from sapflow.driver.driver import Driver
from sapflow.driver.failures import goes_on_after
from sapflow.driver.outage import LOST_OBJECTS, Outage, through_outages
from sapflow.driver.plans import Environment
from sapflow.driver.sweep import sweep_failed, sweep_up
from sapflow.errors import DataError, JobFailed, ObjectMissing, SapflowError, StoreError
from sapflow.objects import keys
from sapflow.objects.documents import read_json
from sapflow.objects.stores.factory import credentials_for, open_store
from sapflow.objects.stores.protocol import Store
from sapflow.planning import placement
from sapflow.records import numerics, shared_area
from sapflow.records.commits import Account, Records
from sapflow.runtimes.embedded.runtime import EmbeddedRuntime
from sapflow.runtimes.sender import Sender
from sapflow.spec import resolved
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import Runtime, TrainingJob
from sapflow.spec.trial_names import trial_named
from sapflow.spec.tuning_document import is_tuning
from sapflow.steps.observer import Observer, Observers
from sapflow.text import parse_json

MUTABLE = {"limits", "checkpoint", "serve"}
DEFAULT_STORE = ".sapflow"
_SHOWN = 8
"""Jobs that a message names, at most."""


def uid_of(job: TrainingJob) -> str:
    """A job's name in a store, which is the same for the same YAML, so that an interrupted run is found again.

    Limits, checkpoints and what serves the model may change between two runs of a job. Any other change makes another
    job.
    """
    spec = {name: value for name, value in job.to_json()["spec"].items() if name not in MUTABLE}
    return f"{job.metadata.name}-{keys.digest(spec, 8)}"


def store_url(job: TrainingJob, asked: str | None) -> str:
    """The URL of a job's store: `asked`, or else spec.storage, or else a folder in the current one."""
    if asked is not None:
        return asked
    storage = job.spec.storage
    if storage is None:
        return DEFAULT_STORE
    options = urlencode({"endpoint": storage.endpoint.rstrip("/"), "region": storage.region})
    return f"s3://{storage.bucket}?{options}"


@dataclass(frozen=True)
class Session:
    """A job in a store. As a context manager it closes the store at the end."""

    uid: str
    job: TrainingJob
    store: Store
    url: str
    runtime: Runtime = "local"
    """Where the job runs, or ran."""
    parent: str | None = None
    """The uid of the job that `spec.from` names, where it names it otherwise."""
    shared_data: str | None = None
    """The prefix of the data that a search has cut for its trials, of which the job is one."""

    @property
    def resolved(self) -> ResolvedJob:
        """The job as driver and functions read it."""
        return ResolvedJob(
            self.job,
            self.prefix,
            self.runtime,
            parent=self.parent,
            shared_data=self.shared_data,
            area=self.area,
        )

    @property
    def data_of(self) -> ResolvedJob:
        """The job whose data it is, which is the job itself."""
        return self.resolved

    @property
    def area(self) -> str | None:
        """The shared area that has the job's data, which its spec in the store names, or the record of a search whose
        template it is; None if it has none, or is not there yet."""
        try:
            named = resolved.area_of(self._json(keys.spec(self.prefix)))
            return named or resolved.area_of(self._json(keys.search_area(self.prefix)))
        except ValueError:
            return None  # which is refused where it is used

    @property
    def prefix(self) -> str:
        """The common beginning of the job's keys."""
        return keys.job(self.uid)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc: object) -> None:
        self.store.close()

    def outcome(self) -> dict[str, Any] | None:
        """The outcome record of a finished job."""
        return self._json(keys.result(self.prefix, "outcome.json"))

    def started(self) -> bool:
        """Whether the job has a first version."""
        return self.store.exists(keys.commit(self.prefix, 0))

    def first_commit(self) -> dict[str, Any] | None:
        """The record of version 0, or None if there is none yet."""
        return self._json(keys.commit(self.prefix, 0))

    def check_numerics(self) -> None:
        """Raise OtherNumerics if a release whose bits differ has begun the job, or only cut its data."""
        for key, what in (
            (keys.commit(self.prefix, 0), "version 0"),
            (manifest_key(self.resolved.data_prefix), "the cut data"),
        ):
            record = self._json(key)
            if record is not None:
                numerics.check(self.uid, record.get("numerics"), what=what, cluster=False)
                return

    def forget(self) -> None:
        """Remove everything of this job, its data too, unless another job uses it. If that is interrupted, the job is
        still finished, or has not begun."""
        self.store.delete_prefix(keys.commits(self.prefix))
        self.store.delete([keys.result(self.prefix, "outcome.json")])
        self.store.delete([manifest_key(keys.data(self.prefix))])
        if (area := self.area) is not None:
            shared_area.leave(self.store, area, self.uid)
        # The spec, which names the area, goes after the area.
        self.store.delete_prefix(self.prefix)

    def cut_data(
        self, progress: Callable[[int], None] | None = None, source: Source | None = None
    ) -> Manifest:
        """Cut the job's data into blocks, unless that is done. For `source` see `cut.cut`. Raises DataError."""
        return cut.cut(self.settle(source), self.store, progress, source)

    def settle(self, source: Source | None = None) -> ResolvedJob:
        """Write the job's spec, which says where its data lies, and make the job a user of the area that it shares.

        A job that has begun stays with what it was begun with. One that has not moves on if its source has changed, and
        stays if that cannot be read any more. Raises DataError, AlteredObject, StoreError.
        """
        place = data_place.settle(
            self.store,
            self.uid,
            self.job,
            before=self.area,
            # One that an earlier release began has its data below its own prefix.
            apart=self.area is None and self.store.exists(keys.spec(self.prefix)),
            started=self.started,
            record=lambda area: cut.write_spec(replace(self.resolved, area=area), self.store),
            record_key=keys.spec(self.prefix),
            source=source,
        )
        return replace(self.resolved, area=place)

    def _json(self, key: str) -> Any | None:
        return read_json(self.store, key)


def open_store_of(
    job: TrainingJob, environ: Mapping[str, str], *, store: str | None, probe: bool
) -> tuple[str, Store]:
    """The URL of a job's store, and the store. `probe` tests it by writing.

    Raises StoreError, StoreUnsafe, StoreUnavailable.
    """
    url = absolute(store_url(job, store))
    opened = open_store(url, credentials_for(url, environ))
    if probe:
        try:
            opened.probe()
        except StoreError:
            opened.close()
            raise
    return url, opened


def open_session(
    job: TrainingJob,
    environ: Mapping[str, str],
    *,
    store: str | None = None,
    uid: str | None = None,
    probe: bool = True,
) -> Session:
    """A job's session on its store. `probe` tests the store by writing; only readers may omit that.
    A job that takes its parameters from a search has them in the session, where its `uid` is not known yet.

    Raises StoreError, StoreUnsafe, StoreUnavailable; SpecError, DataError where what another job or a search is to give
    is not there.
    """
    url, opened = open_store_of(job, environ, store=store, probe=probe)
    try:
        if (asked := job.spec.parameters_from) is not None and uid is None:
            job = searched.settled(job, opened, uid_named(asked.search, url))
        uid = uid or uid_of(job)
        parent = _parent(job, keys.job(uid), opened, url)
    except SapflowError:
        opened.close()
        raise
    return Session(uid, job, opened, url, parent=parent)


def _parent(job: TrainingJob, prefix: str, store: Store, url: str) -> str | None:
    """The uid of what `spec.from` names, None where it names the uid. Raises SpecError, DataError, StoreError."""
    origin = job.spec.begins_at
    if origin is None:
        return None
    named = trial_named(origin.job)
    if named is None:
        found = uid_named(origin.job, url)
    elif named.number is None and (first := read_json(store, keys.commit(prefix, 0))) is not None:
        # Which trial is the best may have changed since, or its search may be gone.
        found = str((first.get("origin") or {}).get("job") or origin.job)
    else:
        found = trials.origin_uid(store, named, uid_named(named.search, url))
    return None if found == origin.job else found


def find_session(uid: str, environ: Mapping[str, str], *, store: str | None = None) -> Session:
    """The session of a job in a store, for reading.

    In a directory `uid` may also be the name in the job's YAML or the beginning of its uid, if that fits one job alone.
    Raises DataError if the store has no such job, or several.
    """
    url = absolute(store or DEFAULT_STORE)
    uid = uid_named(uid, url)
    opened = open_store(url, credentials_for(url, environ))
    try:
        prefix = keys.job(uid)
        document = parse_json(bytes(opened.read(keys.spec(prefix))))
        if is_tuning(document):
            raise DataError(
                f"{uid} is a search and no job: name one of its trials, as {uid}/trials/7, or the best, "
                f"{uid}/trials/best; `sapflow status {uid}` shows them"
            )
        found = resolved.read(document, prefix)
    except (ObjectMissing, ValueError) as error:
        opened.close()
        raise DataError(
            f"{url} holds no job {uid!r}; `sapflow status` lists the jobs of a directory"
        ) from error
    except SapflowError:
        opened.close()
        raise
    return Session(uid, found.job, opened, url, found.runtime, found.parent)


def jobs_in(store: str) -> list[str] | None:
    """The jobs in a directory store; None for other stores, which are not listed."""
    parts = urlsplit(absolute(store))
    if parts.scheme != "file":
        return None
    found = open_store(parts.geturl()).list(keys.JOBS, shallow=True)
    return [each.key.removeprefix(keys.JOBS).rstrip("/") for each in found]


def uid_named(name: str, store: str | None) -> str:
    """The uid of the job, or of the search, in a directory store that `name` is the uid, the name in the YAML or a
    beginning of.

    The name itself if there is no such job. Raises DataError if there are several.
    """
    store = absolute(store or DEFAULT_STORE)
    jobs = [] if not name else jobs_in(store) or []
    named = [each for each in jobs if re.fullmatch(f"{re.escape(name)}-[0-9a-f]{{8}}", each)]
    found = named or [each for each in jobs if each.startswith(name)]
    if name in jobs or not found:
        return name
    if len(found) > 1:
        shown = ", ".join(sorted(found)[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DataError(
            f"{store} holds {len(found)} jobs called {name}…: {shown}{more}; give more of the name"
        )
    return found[0]


def absolute(url: str) -> str:
    """The URL of a store that is given by a URL or a directory's path."""
    return url if "://" in url else Path(url).resolve().as_uri()


def store_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment variables by which functions reach a store."""
    return {name: value for name, value in environ.items() if name.startswith(("SAPFLOW_S3_", "AWS_"))}


def local_functions(
    job: TrainingJob, url: str, environ: Mapping[str, str], max_instances: int | None
) -> EmbeddedRuntime:
    """The local functions of a job whose state lies in the store at `url`."""
    placed = placement.of(job)
    return EmbeddedRuntime(
        url,
        store_variables(environ),
        memory=job.memory_bytes,
        threads=job.spec.threads,
        max_instances=max_instances,
        environ=environ,
        cells=0 if placed is None else placed.count,
    )


async def train(
    session: Session,
    manifest: Manifest,
    environ: Mapping[str, str],
    *,
    max_instances: int | None = None,
    observer: Observer | None = None,
    on_runtime: Callable[[EmbeddedRuntime], None] | None = None,
    forward_flops: int = 0,
    workers: int | None = None,
    account: Account | None = None,
) -> dict[str, Any]:
    """Train a job whose data is cut on local functions, and return the outcome record. Raises JobFailed.

    `account` is what was consumed to prepare the data.

    `workers`: the job, which has begun, goes on with so many; None: with as many as it has. `forward_flops` are those
    of the model for one sample, used for the forecast; 0 if they are not known.
    """
    runtime = local_functions(session.job, session.url, environ, max_instances)
    if on_runtime is not None:
        on_runtime(runtime)
    environment = Environment("local", runtime.max_instances, forward_flops)
    return await train_by(session, manifest, runtime, observer, environment, workers, account)


async def train_by(
    session: Session,
    manifest: Manifest,
    sender: Sender,
    observer: Observer | None = None,
    environment: Environment | None = None,
    workers: int | None = None,
    account: Account | None = None,
) -> dict[str, Any]:
    """Train a job whose data is cut on the sender's functions, close it, and return the outcome. Raises JobFailed."""
    failed = False
    try:
        outcome = await _through_outages(
            session, manifest, sender, observer or Observer(), environment, workers, account
        )
    except JobFailed as error:
        failed = not goes_on_after(error)
        raise
    finally:
        await asyncio.shield(sender.close())
        if failed:
            await sweep_failed(session.resolved, session.store)
    # What calls that were given up have written since the job's end.
    await sweep_up(session.resolved, session.store)
    return outcome


async def _through_outages(
    session: Session,
    manifest: Manifest,
    sender: Sender,
    observer: Observer,
    environment: Environment | None,
    workers: int | None,
    account: Account | None,
) -> dict[str, Any]:
    """Train to the end with one driver after the other, while the store seems to have lost objects and may yet find
    them. Any other error ends the run, which goes on where it is begun again."""
    outage = Outage(LOST_OBJECTS, asyncio.get_running_loop().time)
    observers = Observers(outage, observer)
    job = session.resolved

    async def drive(stopped: str | None) -> dict[str, Any]:
        driver = Driver(
            job,
            manifest,
            session.store,
            sender,
            observers,
            account,
            environment=environment,
            stopped=stopped,
            workers=workers,
        )
        return await driver.run()

    return await through_outages(outage, Records(session.store, session.prefix), drive)
