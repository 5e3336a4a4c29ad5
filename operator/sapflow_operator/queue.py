"""The queue of jobs: a limited number runs at once, in order of creation."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sapflow_operator.conditions import PLANNED, SUCCEEDED, SUSPENDED
from sapflow_operator.observed import JobObject
from sapflow_operator.reconcile import Admission

_WAITING = {"", "Queued", "Suspended"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A job in the queue."""

    uid: str
    namespace: str
    name: str
    created: datetime
    active: bool
    """Whether it is neither finished nor suspended nor being deleted."""
    started: bool
    """Whether it runs, or did before the operator was restarted."""
    kind: str
    broken: bool = False
    """Whether it could not be started, as with a Secret that is missing. It is tried again, and holds no slot."""

    @classmethod
    def of(cls, job: JobObject) -> "Entry":
        conditions = {each["type"]: each for each in job.status.get("conditions", ())}
        succeeded = conditions.get(SUCCEEDED, {"status": "Unknown", "reason": ""})
        active = succeeded["status"] == "Unknown" and not job.suspended and not job.deleting
        busy = active and succeeded["reason"] not in _WAITING
        stopped = _status(conditions, SUSPENDED) == "True" or "startTime" not in job.status
        broken = busy and stopped and _status(conditions, PLANNED) == "False"
        return cls(
            job.uid,
            job.namespace,
            job.name,
            job.created,
            active,
            busy and not broken,
            job.resource.kind,
            broken,
        )


class Queue:
    """All jobs of the cluster, of all kinds. Admissions are remembered here until a job's status shows them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: dict[str, Entry] = {}
        self._admitted: set[str] = set()
        self._called: dict[str, Callable[[str, str], None]] = {}

    def listen(self, kind: str, called: Callable[[str, str], None]) -> None:
        """Have `called` with the namespaces and names of a kind's jobs that may be admitted; see `call`."""
        self._called[kind] = called

    def call(self, entries: Iterable[Entry]) -> None:
        """Tell the listeners of each job that it may be admitted."""
        for entry in entries:
            self._called[entry.kind](entry.namespace, entry.name)

    def put(self, job: JobObject) -> list[Entry]:
        """Update a job. Returns the jobs that may be admitted because of this."""
        before, entry = self._entries.get(job.uid), Entry.of(job)
        self._entries[job.uid] = entry
        if not entry.active:
            self._admitted.discard(job.uid)
        return self._next() if before != entry else []

    def drop(self, uid: str) -> list[Entry]:
        """Remove a job that is gone. Returns the jobs that may be admitted because of this."""
        self._admitted.discard(uid)
        gone = self._entries.pop(uid, None)
        return self._next() if gone is not None and gone.active else []

    def admit(self, uid: str) -> Admission:
        """Whether a job may run now. If so, it counts as running from now on."""
        running = self._running()
        if uid in running:
            return Admission(True, len(running))
        entry = self._entries.get(uid)
        tries = entry is not None and entry.broken and len(running) < self._most
        if tries or uid in {each.uid for each in self._next()}:
            self._admitted.add(uid)
            return Admission(True, len(running) + 1)
        return Admission(False, len(running))

    def could_not_start(self, uid: str) -> list[Entry]:
        """Take the slot from a job that was admitted in vain. Returns the jobs that may be admitted because of this."""
        entry = self._entries.get(uid)
        if entry is None or entry.started or not entry.active:
            return []
        self._admitted.discard(uid)
        self._entries[uid] = replace(entry, broken=True)
        return self._next()

    def _running(self) -> set[str]:
        started = {entry.uid for entry in self._entries.values() if entry.started}
        return started | self._admitted

    def _next(self) -> list[Entry]:
        """The jobs that may start, oldest first."""
        running = self._running()
        waiting = self._waiting(entry for entry in self._entries.values() if entry.uid not in running)
        return waiting[: max(0, self._most - len(running))]

    def _waiting(self, entries: Iterable[Entry]) -> list[Entry]:
        active = [entry for entry in entries if entry.active and not entry.broken]
        return sorted(active, key=lambda entry: (entry.created, entry.namespace, entry.name))


def _status(conditions: Mapping[str, Mapping[str, Any]], type: str) -> str:
    return str(conditions.get(type, {}).get("status", ""))
