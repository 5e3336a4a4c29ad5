"""Handing a job to a cluster and asking how it is, for the command line and for Python."""

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sapflow.client import cluster_job
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import ClusterRefused, JobUnknown
from sapflow.errors import SpecError
from sapflow.kube.errors import ClusterUnavailable
from sapflow.spec.document import parse

NOT_SEEN = ClusterRefused, ClusterUnavailable
"""Who may see jobs need not see events and pods, and a server may fail for a moment: then there is less to show."""


def checked(document: object) -> dict[str, Any]:
    """A job as its user wrote it, checked as a cluster would, in what JSON can say. Raises SpecError."""
    try:
        parse(document, "kubernetes")
        return dict(json.loads(json.dumps(document, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise SpecError(
            [("(document)", f"holds what JSON has no word for, such as a date: {error}")]
        ) from error


def namespace_of(document: Mapping[str, Any], asked: str | None, cluster: Cluster) -> str:
    """The document's own namespace, else the one asked for, else the context's. Raises SpecError."""
    own = document["metadata"].get("namespace")
    if own is not None and asked is not None and own != asked:
        problem = f"is {own!r}, and {asked!r} was asked for; leave one of them out"
        raise SpecError([("metadata.namespace", problem)])
    return str(own or asked or cluster.namespace)


def apply(
    cluster: Cluster, namespace: str, document: Mapping[str, Any], *, dry_run: bool, force: bool
) -> tuple[str, Object]:
    """What became of the document (created, configured, unchanged), and the job.

    Raises SpecError, ClusterRefused, ClusterUnavailable.
    """
    before: Object = {}
    with contextlib.suppress(JobUnknown):
        before = cluster.job(namespace, document["metadata"]["name"])
    created, job = cluster.apply(namespace, document, dry_run=dry_run, force=force)
    if created:
        return "created", job
    return ("unchanged" if before and _asked(before) == _asked(job) else "configured"), job


def _asked(job: Object) -> tuple[Any, Any]:
    """What is a user's to say of a job; the rest of its metadata is the API server's and the operator's."""
    return job["spec"], job["metadata"].get("labels")


def look(cluster: Cluster, job: Object) -> dict[str, Any]:
    """All that can be said of a job now."""
    namespace, name, uid = (job["metadata"][field] for field in ("namespace", "name", "uid"))
    pods = events = None
    with contextlib.suppress(*NOT_SEEN):
        pods = cluster.pods(namespace, name)
    with contextlib.suppress(*NOT_SEEN):
        events = cluster.events(namespace, uid)
    return cluster_job.describe(job, pods, events, datetime.now(UTC))
