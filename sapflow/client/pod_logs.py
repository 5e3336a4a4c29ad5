"""The logs of a job's or a search's pods, for Python programs."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from sapflow.client import job_logs, submission
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import ClusterRefused
from sapflow.client.log_pods import container_of, started

Role = Literal["driver", "worker", "merger"]


def lines(
    cluster: Cluster, job: Object, role: Role, *, follow: bool = False, tail: int | None = None
) -> Iterator[str]:
    """The lines of the log of the pods of a role: pod by pod, or with `follow` in the order in which they are written,
    until the job has finished. With `tail` only the newest `tail` lines of each pod."""
    query = {} if tail is None else {"tail_lines": tail}
    if follow and not submission.finished(job):
        for line in job_logs.follow(cluster, job, role, query):
            yield line.text
        return
    for pod in cluster.pods(job, role):
        if started(pod):
            yield from _log(cluster, job["metadata"]["namespace"], pod, query)


def _log(cluster: Cluster, namespace: str, pod: Object, query: Mapping[str, Any]) -> Iterator[str]:
    try:
        yield from cluster.log(namespace, pod["metadata"]["name"], container_of(pod), **query)
    except ClusterRefused as error:
        # The pod may have been deleted since it was listed.
        if error.status not in (400, 404):
            raise
