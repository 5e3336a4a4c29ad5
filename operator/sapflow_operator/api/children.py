"""Creates and changes the children of resources, and touches no object that the resource does not own."""

from collections.abc import Mapping
from typing import Any

from sapflow.kube.errors import ClusterError
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.observed import JobObject
from sapflow_operator.ownership import obstacle, owns

_TRIES = 3
_REPLACED = (404, 409, 422)
"""Statuses of requests for an object that is gone, was replaced, or exists already."""


async def put(
    cluster: Cluster,
    job: JobObject,
    manifest: Mapping[str, Any],
    uid: str | None = None,
    *,
    dry_run: bool = False,
) -> None:
    """Make a child as its manifest says. `uid` is that of the child as it was last seen, None if there was none.

    Raises NotOwned or EarlierObjects if another object has its name, and ClusterError.
    """
    for attempt in range(_TRIES):
        try:
            if uid is None:
                await cluster.create(manifest, dry_run=dry_run)
            else:
                await cluster.change(manifest, uid, dry_run=dry_run)
        except ClusterError as error:
            if error.status not in _REPLACED or attempt == _TRIES - 1:
                raise
            uid = await _uid_of(cluster, job, manifest)
        else:
            return


async def _uid_of(cluster: Cluster, job: JobObject, manifest: Mapping[str, Any]) -> str | None:
    """The uid of the resource's child of that name; None if there is no object of that name."""
    metadata = manifest["metadata"]
    standing = await cluster.get(manifest["kind"], metadata["namespace"], metadata["name"])
    if standing is None:
        return None
    if not owns(job, standing):
        raise obstacle(job, standing)
    return str(standing["metadata"]["uid"])
