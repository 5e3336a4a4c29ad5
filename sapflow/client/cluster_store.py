"""A cluster's job in its store, as that is reached from here."""

from collections.abc import Mapping

from sapflow.client.cluster import Object
from sapflow.client.session import Session, find_session
from sapflow.errors import DataError

EXAMPLE = "'s3://BUCKET?endpoint=http://localhost:9000'"
REACHED = "after kubectl port-forward, with credentials in SAPFLOW_S3_ACCESS_KEY and SAPFLOW_S3_SECRET_KEY"


def session_of(job: Object, store: str | None, environ: Mapping[str, str]) -> Session:
    """The session of a cluster's job in its store, for reading.

    Raises DataError if `store` is None, because a cluster's addresses say nothing here, or has no such job; StoreError.
    """
    name, namespace, uid = (job["metadata"][field] for field in ("name", "namespace", "uid"))
    if store is None:
        raise DataError(
            f"{name} is a job of the cluster (namespace {namespace}), whose store cannot be told from here: name it as "
            f"it is reached from here, --store {EXAMPLE} {REACHED}"
        )
    return find_session(uid, environ, store=store)
