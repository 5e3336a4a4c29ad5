"""Follows the logs of a job's pods until the job ends, including pods that are replaced and added.

A thread reads each pod, one watches for pods, and one for the job's end. The caller's thread gets their lines.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from sapflow.client import submission
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import ClusterRefused
from sapflow.client.log_pods import container_of, ended, started
from sapflow.client.log_reading import Rereading
from sapflow.kube.errors import ClusterUnavailable

_PAUSE_SECONDS = 0.5
"""Pause before a pod is checked again, because a container ends a moment before its pod shows it."""
_CLOCKS_DIFFER_SECONDS = 120


@dataclass(frozen=True, slots=True)
class _Line:
    pod: str
    text: str


@dataclass(frozen=True, slots=True)
class _End:
    pod: str
    """The pod that has no more lines."""


@dataclass(frozen=True, slots=True)
class _Finished:
    """The job has finished."""


_Heard = _Line | _End | _Finished | BaseException


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a pod's log. `several` tells whether more than one pod is read, so that lines need the pod's name."""

    pod: str
    text: str
    several: bool


def follow(cluster: Cluster, job: Object, role: str, query: Mapping[str, Any]) -> Iterator[LogLine]:
    """The lines of a role's pods until the job or search has finished.

    Raises JobUnknown, ClusterRefused, ClusterUnavailable.

    If the caller closes the iterator earlier, each thread ends when it receives something next.
    """
    follower = _Follower(cluster, job, role, query)
    follower.start()
    try:
        while (heard := follower.next()) is not None:
            yield LogLine(heard.pod, heard.text, follower.several)
    finally:
        follower.close()


class _Follower:
    def __init__(self, cluster: Cluster, job: Object, role: str, query: Mapping[str, Any]) -> None:
        self._cluster, self._job, self._role = cluster, job, role
        self._namespace = str(job["metadata"]["namespace"])
        self._query = dict(query)
        self._heard: queue.SimpleQueue[_Heard] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._read: set[str] = set()
        """Pods that are or were read."""
        self._ended: set[str] = set()
        self._awaited: set[str] | None = None
        """After the job has finished: the pods whose logs end by themselves."""
        self._closed = False

    @property
    def several(self) -> bool:
        return self._role != "driver" or len(self._read) > 1

    def start(self) -> None:
        _in_background(self._watch_pods)
        _in_background(self._watch_job)

    def close(self) -> None:
        """Stop, because nobody reads lines any more."""
        self._closed = True

    def next(self) -> _Line | None:
        """The next line, or None if there are no more. Raises the threads' errors."""
        while self._awaited is None or not self._awaited <= self._ended:
            match self._heard.get():
                case _Line() as line:
                    return line
                case _End(pod):
                    self._ended.add(pod)
                case _Finished():
                    self._awaited = self._pods_that_end()
                case BaseException() as error:
                    raise error
        return None

    def _pods_that_end(self) -> set[str]:
        """The pods whose logs end by themselves. Functions end some time after their job, so they do not count."""
        found = self._cluster.pods(self._job, self._role)
        for pod in found:
            self._begin(pod)
        return {
            pod["metadata"]["name"]
            for pod in found
            if pod["metadata"]["name"] in self._read and (ended(pod) or self._role == "driver")
        }

    def _watch_pods(self) -> None:
        with _HandOver(self._heard):
            for pod in self._cluster.follow_pods(self._job, self._role):
                if self._closed:
                    return
                self._begin(pod)

    def _watch_job(self) -> None:
        with _HandOver(self._heard):
            for job in self._cluster.follow_job(self._job):
                if self._closed or submission.finished(job):
                    self._heard.put(_Finished())
                    return

    def _begin(self, pod: Object) -> None:
        """Begin to read a pod's log, if it has one and is not read yet."""
        name = pod["metadata"]["name"]
        with self._lock:
            if name in self._read or not started(pod):
                return
            self._read.add(name)
        _in_background(lambda: self._read_pod(name, container_of(pod)))

    def _read_pod(self, name: str, container: str) -> None:
        try:
            with _HandOver(self._heard):
                self._read_to_the_end(name, container)
        finally:
            self._heard.put(_End(name))

    def _read_to_the_end(self, name: str, container: str) -> None:
        """Read a log to its end. If it was cut off or silent for long, it is requested again and known lines are
        skipped."""
        reading, query, over = Rereading(), self._query, False
        while True:
            try:
                self._read_once(name, container, reading, query)
                if over or self._closed:
                    return
                pod = self._cluster.pod(self._namespace, name)
                if pod is None:
                    return
                # The last lines may have been written after the answer, so the log is read once more.
                over = ended(pod)
            except ClusterUnavailable:
                pass
            if reading.last is not None:
                query = {"since_seconds": _seconds_since(reading.last) + _CLOCKS_DIFFER_SECONDS}
            time.sleep(_PAUSE_SECONDS)

    def _read_once(self, name: str, container: str, reading: Rereading, query: Mapping[str, Any]) -> None:
        lines = self._cluster.log(self._namespace, name, container, follow=True, timestamps=True, **query)
        try:
            for text in reading.new(lines):
                if self._closed:
                    return
                self._heard.put(_Line(name, text))
        except ClusterRefused as error:
            # There is no log: the container is restarting, its log was removed, or the pod is gone.
            if error.status not in (400, 404):
                raise


class _HandOver:
    """A context that passes exceptions to the caller's thread, which would otherwise wait forever."""

    def __init__(self, heard: "queue.SimpleQueue[_Heard]") -> None:
        self._heard = heard

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            self._heard.put(error)
        return True


def _seconds_since(written: int) -> int:
    """Seconds since a line was written; `written` is in nanoseconds since 1970."""
    return max(0, (time.time_ns() - written) // 10**9)


def _in_background(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="sapflow logs", daemon=True).start()
