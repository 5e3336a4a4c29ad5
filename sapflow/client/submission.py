"""Submits a job or a search to a cluster and reads its state, for command line and Python."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sapflow.client import cluster_job, cluster_search
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import ClusterRefused, JobUnknown
from sapflow.client.cluster_kinds import TUNING_JOBS, kind_of
from sapflow.errors import SpecError
from sapflow.kube.errors import ClusterUnavailable
from sapflow.spec import tuning_document
from sapflow.spec.document import parse

NOT_SEEN = ClusterRefused, ClusterUnavailable
"""Errors after which less is shown: a user may have no right to see events and pods, and a server may fail briefly."""


def checked(document: object) -> dict[str, Any]:
    """The document of a job or a search as its user wrote it, in JSON's types, checked like in a cluster. Raises
    SpecError."""
    try:
        if tuning_document.is_tuning(document):
            tuning_document.parse(document, "kubernetes")
        else:
            parse(document, "kubernetes")
        return dict(json.loads(json.dumps(document, allow_nan=False)))
    except (TypeError, ValueError) as error:
        raise SpecError(
            [("(document)", f"holds what JSON has no word for, such as a date: {error}")]
        ) from error


def namespace_of(document: Mapping[str, Any], asked: str | None, cluster: Cluster) -> str:
    """The namespace of the document, or else `asked`, or else that of the context. Raises SpecError."""
    own = document["metadata"].get("namespace")
    if own is not None and asked is not None and own != asked:
        problem = f"is {own!r}, and {asked!r} was asked for; leave one of them out"
        raise SpecError([("metadata.namespace", problem)])
    return str(own or asked or cluster.namespace)


def apply(
    cluster: Cluster, namespace: str, document: Mapping[str, Any], *, dry_run: bool, force: bool
) -> tuple[str, Object]:
    """Apply the document. Returns the outcome (created, configured, unchanged), and the job.

    Raises SpecError, ClusterRefused, ClusterUnavailable.
    """
    before: Object = {}
    with contextlib.suppress(JobUnknown):
        before = cluster.job(namespace, document["metadata"]["name"], kind_of(document))
    created, job = cluster.apply(namespace, document, dry_run=dry_run, force=force)
    if created:
        return "created", job
    return ("unchanged" if before and _asked(before) == _asked(job) else "configured"), job


def _asked(job: Object) -> tuple[Any, Any]:
    """The user's part of a job; the rest of its metadata belongs to the API server and the operator."""
    return job["spec"], job["metadata"].get("labels")


def describe_now(cluster: Cluster, job: Object) -> dict[str, Any]:
    """A full description of a job or a search now."""
    namespace, uid = (job["metadata"][field] for field in ("namespace", "uid"))
    pods = events = None
    with contextlib.suppress(*NOT_SEEN):
        pods = cluster.pods(job)
    with contextlib.suppress(*NOT_SEEN):
        events = cluster.events(namespace, uid)
    return described(job, pods, events)


def described(
    job: Object, pods: Sequence[Object] | None = None, events: Sequence[Object] | None = None
) -> dict[str, Any]:
    """A description of a job or a search by its kind, with what its user may see of pods and events."""
    describe = cluster_search.describe if kind_of(job) is TUNING_JOBS else cluster_job.describe
    return describe(job, pods, events, datetime.now(UTC))


def finished(job: Object) -> bool:
    """Whether a job or a search has ended."""
    return (cluster_search.finished if kind_of(job) is TUNING_JOBS else cluster_job.finished)(job)
