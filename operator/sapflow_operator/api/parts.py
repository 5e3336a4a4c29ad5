"""The objects that a resource's driver makes, such as a search's trials: the operator only lets go of them."""

from sapflow.kube.errors import ClusterError
from sapflow_operator import names
from sapflow_operator.api.cluster import Cluster
from sapflow_operator.names import Resource
from sapflow_operator.observed import JobObject


async def release(cluster: Cluster, job: JobObject, kind: Resource) -> None:
    """Take the finalizers from what a job's driver has made. Where its kind is not installed, there is none.

    Raises ClusterError.
    """
    try:
        async for each in cluster.each(kind.kind, job.namespace, f"{names.UID_LABEL}={job.uid}"):
            if names.TRIAL_FINALIZER in each["metadata"].get("finalizers", ()):
                await cluster.release(kind.kind, each, names.TRIAL_FINALIZER)
    except ClusterError as error:
        if error.status != 404:
            raise
