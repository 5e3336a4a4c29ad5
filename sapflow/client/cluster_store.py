"""A cluster's job or search in its store, as that is reached from here."""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace

from sapflow.client import stored
from sapflow.client.cluster import Object
from sapflow.client.session import Session, absolute
from sapflow.client.tuning import TuningSession, find_tuning
from sapflow.errors import DataError
from sapflow.objects.stores.factory import credentials_for, open_store
from sapflow.objects.stores.protocol import Store
from sapflow.spec.trial_names import TrialName

EXAMPLE = "'s3://BUCKET?endpoint=http://localhost:9000'"
REACHED = "after kubectl port-forward, with credentials in SAPFLOW_S3_ACCESS_KEY and SAPFLOW_S3_SECRET_KEY"


@contextmanager
def opened(url: str, environ: Mapping[str, str]) -> Iterator[Store]:
    """The store at `url`, as it is reached from here, for reading. Raises StoreError."""
    found = absolute(url)
    with closing(open_store(found, credentials_for(found, environ))) as store:
        yield store


def session_of(
    job: Object, store: str | None, environ: Mapping[str, str], trial: TrialName | None = None
) -> Session:
    """The session of a cluster's job in its store, for reading; with `trial`, of that trial of the search `job`.

    Raises DataError if `store` is None, because a cluster's addresses say nothing here, or has no such job; StoreError.
    """
    uid = job["metadata"]["uid"]
    found = _reached(job, store, "job" if trial is None else "search")
    return stored.find(uid if trial is None else str(replace(trial, search=uid)), environ, store=found)


def tuning_of(search: Object, store: str | None, environ: Mapping[str, str]) -> TuningSession:
    """The session of a cluster's search in its store, for reading.

    Raises DataError if `store` is None or has no such search; StoreError.
    """
    name, namespace, uid = (search["metadata"][field] for field in ("name", "namespace", "uid"))
    found = _reached(search, store, "search")
    opened = find_tuning(uid, environ, store=found)
    if opened is None:
        raise DataError(f"{store} holds no search {uid}, which is {name} of namespace {namespace}")
    return opened


def _reached(resource: Object, store: str | None, word: str) -> str:
    """The store that was named for a resource. Raises DataError."""
    if store is not None:
        return store
    name, namespace = (resource["metadata"][field] for field in ("name", "namespace"))
    raise DataError(
        f"{name} is a {word} of the cluster (namespace {namespace}), whose store cannot be told from here: name it "
        f"as it is reached from here, --store {EXAMPLE} {REACHED}"
    )
