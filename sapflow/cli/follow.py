"""Follows a cluster's job or search to its end, and shows conditions, events and progress as lines or in a display."""

import contextlib
import shlex
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from sapflow.cli.cluster_lines import line
from sapflow.cli.output import FAILED, print_json
from sapflow.cli.stop import Stopped, insistent
from sapflow.client import cluster_job, cluster_search
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_kinds import TUNING_JOBS, kind_of
from sapflow.client.submission import NOT_SEEN, describe_now, finished
from sapflow.monitoring.display import Display, Event, LineDisplay, json_line
from sapflow.text import count

SECONDS_BETWEEN_LINES = 3.0
SECONDS_BETWEEN_READS = 3.0
"""Seconds between two requests for a running job's events and pods, unless a condition has changed."""


class Follower:
    """Shows the course of a job from the API server's objects."""

    def __init__(
        self,
        cluster: Cluster,
        job: Object,
        emit: Callable[[Event], None],
        *,
        from_the_start: bool,
        every: float,
    ) -> None:
        """With `from_the_start` earlier events are shown, too. `every` is the seconds between two lines of progress."""
        self._cluster, self._job = cluster, job
        self._emit, self._every = emit, every
        self._said: dict[str, tuple[str, str]] = {}
        self._reasons: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        """Reason and message of events whose condition was not seen yet."""
        self._heard: set[tuple[str, int]] | None = set() if from_the_start else None
        self._next_progress = self._next_read = 0.0
        self._progress: Event | None = None

    def run(self) -> Object:
        """Follow the job, and return it once it is finished. Raises JobUnknown if it is deleted, ClusterUnavailable."""
        for job in self._cluster.follow_job(self._job):
            over = finished(job)
            changed = self._conditions(job)
            if changed or over or time.monotonic() >= self._next_read:
                self._read_events_and_pods(job)
            self._tell_progress(job, over)
            if over:
                return job
        raise AssertionError("a job is followed until it is finished or gone")

    def _conditions(self, job: Object) -> bool:
        """Show changed conditions, and return whether there were any. The same reason with other numbers is no change,
        but a problem that has returned is."""
        changed = False
        said = [cluster_job.condition(job, cluster_job.SUCCEEDED), *cluster_job.troubles(job)]
        standing = {each["type"] for each in said if each}
        self._said = {type: known for type, known in self._said.items() if type in standing}
        for each in said:
            if not each or self._said.get(each["type"]) == (each["status"], each["reason"]):
                continue
            self._said[each["type"]] = (each["status"], each["reason"])
            self._reasons.add(each["reason"])
            changed = True
            spoken = each["reason"], each.get("message", "")
            if spoken in self._told:
                self._told.remove(spoken)
            else:
                self._emit(_spoken("condition", *spoken))
        return changed

    def _read_events_and_pods(self, job: Object) -> None:
        self._next_read = time.monotonic() + SECONDS_BETWEEN_READS
        with contextlib.suppress(*NOT_SEEN):
            self._tell_events(self._cluster.events(job["metadata"]["namespace"], job["metadata"]["uid"]))
        with contextlib.suppress(*NOT_SEEN):
            pods = self._cluster.pods(self._job)
            self._emit({"event": "functions", "functions": states(pods)})

    def _tell_events(self, events: Sequence[Object]) -> None:
        found = {(each["metadata"]["name"], each.get("count") or 1): each for each in events}
        if self._heard is None:
            self._heard = set(found)
        for ident, each in found.items():
            # The operator makes an event for each changed condition, and one line about it is enough.
            if ident not in self._heard and each.get("reason") not in self._reasons:
                kind = "warning" if each.get("type") == "Warning" else "happened"
                spoken = str(each.get("reason", "")), str(each.get("message", ""))
                self._told.add(spoken)
                self._emit(_spoken(kind, *spoken))
        self._heard |= set(found)

    def _tell_progress(self, job: Object, over: bool) -> None:
        event, now = _progress_event(job), time.monotonic()
        if event is None or event == self._progress or (now < self._next_progress and not over):
            return
        self._progress, self._next_progress = event, now + self._every
        self._emit(event)


def _progress_event(job: Object) -> Event | None:
    if kind_of(job) is TUNING_JOBS:
        return cluster_search.progress_event(job)
    return cluster_job.progress_event(job)


def _spoken(kind: str, reason: str, message: str) -> Event:
    return {"event": kind, "reason": reason, "message": message}


def states(pods: Sequence[Object]) -> list[tuple[str, str]]:
    """The pairs (role, state) of all functions."""
    found = ((cluster_job.role_of(pod), cluster_job.pod_state(pod)) for pod in pods)
    return [(role, state) for role, state in found if role != "driver"]


class JobLines(LineDisplay):
    """A display with a line for each event, but not for pods of functions, which come and go too often."""

    def emit(self, event: Event) -> None:
        if event["event"] != "functions":
            super().emit(event)


def open_job_display(stream: TextIO, given: Namespace, job: Object) -> tuple[Display, float]:
    """The display that the command line asks for, and the seconds between its updates of progress."""
    if given.json:
        return JobLines(stream, json_line), SECONDS_BETWEEN_LINES
    if not stream.isatty() or given.plain:
        return JobLines(stream, line), SECONDS_BETWEEN_LINES
    # They import rich, which line displays do not need.
    from sapflow.cli.cluster_live import JobDisplay
    from sapflow.cli.search_live import SearchDisplay

    metadata = job["metadata"]
    if kind_of(job) is TUNING_JOBS:
        calls = count(job["spec"].get("maxWorkers", 0), "call")
        return SearchDisplay(
            stream, f"{metadata['name']} in {metadata['namespace']}: at most {calls} at once"
        ), 0.0
    title = f"{metadata['name']} in {metadata['namespace']}: {count(job['spec'].get('workers', 0), 'worker')}"
    return JobDisplay(stream, title, job), 0.0


def follow(cluster: Cluster, given: Namespace, job: Object, *, from_the_start: bool, **beside: Any) -> int:
    """Follow a job to its end, report it, and return the exit code. `beside` is added to the JSON object.

    Raises JobUnknown, ClusterRefused, ClusterUnavailable.
    """
    display, every = open_job_display(sys.stderr if given.json else sys.stdout, given, job)
    follower = Follower(cluster, job, display.emit, from_the_start=from_the_start, every=every)
    try:
        with insistent(), display:
            ended = follower.run()
    except Stopped as stop:
        return _say_left_alone(given, job, stop)
    body = describe_now(cluster, ended) | beside
    if given.json:
        print_json(body)
    else:
        print()
        print_job(body)
    return 0 if body["state"] == "Succeeded" else FAILED


def print_job(body: Mapping[str, Any]) -> None:
    """Print the description of a job or a search."""
    found = (cluster_search if body["kind"] == TUNING_JOBS.kind else cluster_job).lines(body)
    print(f"{body['job']} in namespace {body['namespace']}")
    width = max(len(name) for name, _ in found)
    for name, value in found:
        print(f"  {name:<{width}}  {value}")


def watch_command(given: Namespace, job: Object) -> str:
    """The command that continues to watch a job or a search."""
    metadata, kind = job["metadata"], kind_of(job)
    name = f"{kind.short}/{metadata['name']}" if kind is TUNING_JOBS else metadata["name"]
    words = ["sapflow", "status", name, "-n", metadata["namespace"], "--watch"]
    for option, value in (("--context", given.context), ("--kubeconfig", given.kubeconfig)):
        words += [option, value] if value else []
    return shlex.join(words)


def _say_left_alone(given: Namespace, job: Object, stop: Stopped) -> int:
    code, name, namespace = stop.exit_code, job["metadata"]["name"], job["metadata"]["namespace"]
    if given.json:
        print_json({"job": name, "namespace": namespace, "state": "Unfinished", "exitCode": code})
    else:
        again = watch_command(given, job)
        print(f"\n{name} goes on in the cluster. To watch it again:\n  {again}", file=sys.stderr)
    return code
