"""Reconciles the resources of one kind: when, one task at a time for each, and what is said of it.

What a reconciliation does is up to the kind: see `controller.Controller` for kinds whose resources have a driver, and
`serving.controller.ServiceController` for one without. A resource is called a job here, as the first kind was.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from sapflow import logs
from sapflow.errors import SapflowError
from sapflow_operator.actions import Event
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.names import Resource
from sapflow_operator.observed import JobObject
from sapflow_operator.settings import Settings

logger = logging.getLogger("sapflow.operator")

SETTLE_SECONDS = 0.05
"""Seconds to wait after a change for others that come with it."""
RETRY_SECONDS = 5.0
Key = tuple[str, str]


class ResourceController(ABC):
    """The controller of one kind of resources. It must be used in one event loop."""

    def __init__(self, settings: Settings, cluster: Cluster, resource: Resource) -> None:
        self._settings, self._cluster, self._resource = settings, cluster, resource
        # A lock exists as long as a task holds it or waits for it.
        self._locks: WeakValueDictionary[Key, asyncio.Lock] = WeakValueDictionary()
        self._touched: dict[Key, asyncio.Task[None]] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._alarms: dict[Key, asyncio.TimerHandle] = {}
        self._jobs: dict[str, JobObject] = {}
        self._stopped = False

    @property
    def resource(self) -> Resource:
        """The resource that it controls."""
        return self._resource

    @property
    def jobs(self) -> list[JobObject]:
        """All jobs as last seen, with only those parts of their specs that are needed here."""
        return list(self._jobs.values())

    @abstractmethod
    def _note(self, job: JobObject) -> None:
        """Remember in `_jobs` a job that is there before anything is reconciled."""

    @abstractmethod
    def _changed(self, job: JobObject) -> None:
        """Take note of a job that has changed."""

    @abstractmethod
    def _gone(self, job: JobObject) -> None:
        """Take note of a job that is gone."""

    @abstractmethod
    async def _advance(self, job: JobObject) -> tuple[str, float | None]:
        """Reconcile a job once. Returns the outcome, and the seconds until the next time (None: after a change)."""

    @abstractmethod
    async def _end(self, job: JobObject) -> bool:
        """Continue the deletion of a job. Returns whether nothing of it is left. Raises SapflowError."""

    async def start(self) -> None:
        """Read all jobs. Raises ClusterError.

        Nothing is reconciled yet: kopf does that once the controllers of all kinds have started.
        """
        self._settings = self._settings.model_copy(update={"resizes": await self._cluster.resizes()})
        for namespace in self._settings.namespaces or (None,):
            for body in await self._cluster.list(self._resource.kind, namespace):
                self._note(JobObject.read(body, self._resource))

    async def stop(self) -> None:
        """Start nothing more. Work under way may be cancelled at any point."""
        self._stopped = True
        for alarm in self._alarms.values():
            alarm.cancel()
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        await self._cluster.close()

    def seen(self, body: Mapping[str, Any], *, gone: bool = False) -> None:
        """Take note of a job that has changed or is gone."""
        job = JobObject.read(body, self._resource)
        if gone:
            self._jobs.pop(job.uid, None)
            self._set_alarm((job.namespace, job.name), None)
            self._gone(job)
        else:
            self._changed(job)

    def touch(self, namespace: str, name: str) -> None:
        """Reconcile a job soon, because something of it has changed; once for many changes."""
        key = (namespace, name)
        if key not in self._touched:
            task = asyncio.create_task(self._reconcile_soon(key))
            self._touched[key] = task
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def reconcile(self, namespace: str, name: str, touch: asyncio.Task[None] | None = None) -> str:
        """Reconcile a job as far as possible now. Returns ok, or the reason why it was not possible.

        `touch` is the task of the change that asks for it. The result is `seen` if another reconciliation has begun
        since, because that sees the change, too. Raises ClusterError.
        """
        key = (namespace, name)
        async with self._lock(key):
            if touch is not None and self._touched.get(key) is not touch:
                return "seen"
            # Changes until here are seen by this reconciliation; later ones ask for another.
            self._touched.pop(key, None)
            # After a failure of any kind there is another reconciliation.
            again: float | None = RETRY_SECONDS
            try:
                body = await self._cluster.get(self._resource.kind, namespace, name)
                outcome, again = await self._go_on(body)
            finally:
                self._set_alarm(key, again)
        return outcome

    async def finalize(self, namespace: str, name: str) -> bool:
        """Continue a job's deletion. Returns whether nothing of it is left. Raises SapflowError."""
        async with self._lock((namespace, name)):
            body = await self._cluster.get(self._resource.kind, namespace, name)
            if body is None:
                return True
            self.seen(body)
            return await self._end(JobObject.read(body, self._resource))

    async def _go_on(self, body: Mapping[str, Any] | None) -> tuple[str, float | None]:
        """Like `_advance`, for the API server's object of a job, which may be gone or being deleted."""
        if body is None:
            return "ok", None
        job = JobObject.read(body, self._resource)
        self.seen(body)
        return ("ok", None) if job.deleting else await self._advance(job)

    async def _say(
        self, job: JobObject, status: Mapping[str, Any] | None, events: Iterable[Event] = ()
    ) -> None:
        """Write the status if it has changed, and then the events, so that no event is created twice."""
        if status is not None and status != _ours(job.status):
            await self._cluster.apply_status(job, status)
            for event in events:
                await self._tell(job, event)

    async def _tell(self, job: JobObject, event: Event) -> None:
        logs.event(
            logger,
            logging.INFO,
            "event",
            job=job.name,
            namespace=job.namespace,
            reason=event.reason,
            message=event.message,
        )
        await self._cluster.record(job, event)

    async def _reconcile_soon(self, key: Key) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        try:
            await self.reconcile(*key, asyncio.current_task())
        except SapflowError as error:
            logs.event(logger, logging.WARNING, "reconciliation failed", job=key[1], message=str(error))

    def _lock(self, key: Key) -> asyncio.Lock:
        lock = self._locks.get(key)
        if lock is None:
            self._locks[key] = lock = asyncio.Lock()
        return lock

    def _set_alarm(self, key: Key, seconds: float | None) -> None:
        if alarm := self._alarms.pop(key, None):
            alarm.cancel()
        if seconds is not None and not self._stopped:
            self._alarms[key] = asyncio.get_running_loop().call_later(seconds, self.touch, *key)


def _ours(status: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in status.items() if name != "progress"}
