"""The objects of a search's trials in the cluster: written for those that people look for, and watched for deletion.

An object has a finalizer of ours, so one that is deleted stays until the driver has seen it, however long no driver is
there; an object that is merely absent means nothing.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sapflow import logs
from sapflow.kube.client import ApiClient
from sapflow.kube.errors import ClusterError, ClusterUnavailable
from sapflow.kube.paths import Kind
from sapflow.monitoring.tuning_display import in_short
from sapflow.monitoring.tuning_progress import TrialState, TuningProgress
from sapflow.tuning.actions import Action, Deleted, Event, Failed, Finished, Stopped
from sapflow.tuning.runner import TuningObserver
from sapflow.tuning.trial import Trial
from sapflow_operator import names
from sapflow_operator.driver_pod.reports import can_be_said, shown
from sapflow_operator.kinds.trial import SUMMARY_CHARACTERS
from sapflow_operator.kinds.tuning_status import parameter_texts

logger = logging.getLogger("sapflow.search")

MOST = 300
"""Objects of one search at once."""
LAST = 50
"""Trials that have ended and are shown for that."""
WRITES_PER_SECOND = 5.0
LAST_SECONDS = 12.0
"""Time to write what became of the last trials at the end; a pod has `GRACE_SECONDS` to end."""
_LONGEST_PAUSE = 30.0


class TrialObjects(TuningObserver):
    """Writes and removes objects at most five times a second. Use as an async context manager.

    `deleted` is called with the number of a trial whose object a user has deleted while the trial had not ended.
    """

    def __init__(
        self,
        api: ApiClient,
        progress: TuningProgress,
        *,
        namespace: str,
        search: str,
        uid: str,
        deleted: Callable[[int], None],
    ) -> None:
        self._api, self._progress, self._deleted = api, progress, deleted
        self._namespace, self._search, self._uid = namespace, search, uid
        self._paths = Kind(names.API_VERSION, names.TRIAL.plural)
        self._standing: dict[int, str] = {}
        """By number, the digests of what the cluster has; '' where this is not known."""
        self._last: deque[TrialState] = deque(maxlen=LAST)
        self._hidden: set[int] = set()
        """Trials whose objects a user has deleted: they get no others."""
        self._asked: set[int] = set()
        """Of these, those that the search has not been told of yet."""
        self._opened, self._changed = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "TrialObjects":
        self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._write())]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # What became of the search is in the store and its status, whoever does not take these.
        with contextlib.suppress(TimeoutError, ClusterError):
            async with asyncio.timeout(LAST_SECONDS):
                while await self._write_one():
                    await asyncio.sleep(1 / WRITES_PER_SECOND)
        await self._api.close()

    def opened(self, trials: Sequence[Trial]) -> None:
        self._opened.set()
        self._changed.set()

    def began(self, action: Action) -> None:
        self._changed.set()

    def told(self, event: Event) -> None:
        """Take in an event that the progress has taken in before."""
        if isinstance(event, Finished | Failed | Stopped) and self._progress.last is not None:
            self._last.append(self._progress.last)
        if isinstance(event, Deleted):
            self._asked.discard(event.trial)
        self._changed.set()

    def wanted(self) -> dict[int, TrialState]:
        """The trials that have objects, at most `MOST`: the best, those at work, the last ones, then paused ones."""
        progress = self._progress
        groups = (
            progress.top,
            progress.under_way.values(),
            reversed(self._last),
            sorted(progress.paused.values(), key=lambda each: -each.number),
        )
        found: dict[int, TrialState] = {}
        for group in groups:
            for each in group:
                if len(found) == MOST:
                    return found
                if each.number not in self._hidden:
                    found.setdefault(each.number, each)
        return found

    def manifest(self, trial: TrialState) -> dict[str, Any]:
        """The object of a trial."""
        status = {
            "state": trial.state,
            "reason": trial.reason[:1024] or None,
            "step": trial.at,
            "objective": trial.value,
            "parameters": in_short(trial.parameters, SUMMARY_CHARACTERS),
            "costUSD": trial.dollars,
            "seconds": round(trial.seconds, 1),
        }
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.TRIAL.kind,
            "metadata": {
                "name": self._name(trial.number),
                "namespace": self._namespace,
                "labels": {
                    **names.labels(self._search),
                    **names.TUNING_JOB.labels,
                    names.TUNING_LABEL: self._search,
                    names.UID_LABEL: self._uid,
                },
                "ownerReferences": [
                    {
                        "apiVersion": names.API_VERSION,
                        "kind": names.TUNING_JOB.kind,
                        "name": self._search,
                        "uid": self._uid,
                        "controller": True,
                    }
                ],
                "finalizers": [names.TRIAL_FINALIZER],
            },
            "spec": {"number": trial.number, "parameters": parameter_texts(trial.parameters)},
            "status": shown({name: value for name, value in status.items() if can_be_said(value)}),
        }

    def _name(self, number: int) -> str:
        return f"{self._search}-{number}"

    def _path(self, number: int) -> str:
        return self._paths.path(self._namespace, self._name(number))

    async def _watch(self) -> None:
        """See deletions, those from before this driver too, until cancelled."""
        # Before, no trial is known, and those whose objects were deleted meanwhile would look as if they had ended.
        await self._opened.wait()
        pause = 1.0
        query = {"labelSelector": f"{names.UID_LABEL}={self._uid}"}
        while True:
            try:
                async with contextlib.aclosing(
                    self._api.changes(self._paths.path(self._namespace), query)
                ) as changes:
                    async for batch in changes:
                        pause = 1.0
                        for kind, found in batch:
                            for each in found:
                                self._see(kind, each)
            except ClusterError as error:
                logs.event(logger, logging.WARNING, "trials not watched", message=str(error))
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)

    def _see(self, kind: str, found: Mapping[str, Any]) -> None:
        number = found["spec"]["number"]
        if kind == "DELETED":
            self._standing.pop(number, None)
            return
        self._standing.setdefault(number, "")
        if "deletionTimestamp" in found["metadata"] and number not in self._hidden:
            self._hidden.add(number)
            if not self._has_ended(number):
                self._asked.add(number)
                self._deleted(number)
        self._changed.set()

    def _has_ended(self, number: int) -> bool:
        return number not in self._progress.under_way and number not in self._progress.paused

    async def _write(self) -> None:
        """Write one object after the other, until cancelled."""
        pause = 1 / WRITES_PER_SECOND
        while True:
            self._changed.clear()
            try:
                wrote = await self._write_one()
                pause = 1 / WRITES_PER_SECOND
            except ClusterError as error:
                logs.event(logger, logging.WARNING, "trial not shown", message=str(error))
                wrote, pause = True, min(_LONGEST_PAUSE, 2 * pause)
            if not wrote:
                await self._changed.wait()
            await asyncio.sleep(pause)

    async def _write_one(self) -> bool:
        """Make the first change that is due. Whether there was one. Raises ClusterError."""
        for number in sorted(self._hidden & set(self._standing)):
            if number not in self._asked:
                await self._release(number)
                return True
        wanted = self.wanted()
        for number, trial in wanted.items():
            manifest = self.manifest(trial)
            digest = json.dumps(manifest, sort_keys=True)
            if self._standing.get(number) != digest:
                written = {**manifest, "status": {**manifest["status"], "updated": _now()}}
                try:
                    await self._api.apply(self._path(number), written, names.DRIVER_MANAGER)
                except ClusterUnavailable:
                    raise
                except ClusterError as error:
                    # It is tried again when the trial changes, and keeps no other from being shown.
                    logs.event(logger, logging.WARNING, "trial not shown", trial=number, message=str(error))
                self._standing[number] = digest
                return True
        for number in sorted(set(self._standing) - set(wanted) - self._hidden):
            # In this order: an object that is deleted first would look like one that a user has deleted.
            await self._release(number)
            await self._remove(number)
            return True
        return False

    async def _release(self, number: int) -> None:
        """Take the finalizer from an object."""
        with _unless_gone():
            await self._api.patch(self._path(number), {"metadata": {"finalizers": []}})
        self._standing.pop(number, None)

    async def _remove(self, number: int) -> None:
        with _unless_gone():
            await self._api.delete(self._path(number))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """Ignore that an object is not there any more."""
    try:
        yield
    except ClusterError as error:
        if error.status != 404:
            raise
