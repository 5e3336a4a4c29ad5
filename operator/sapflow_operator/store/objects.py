"""A job's objects in the store: the outcome of a finished job, the clean-up of a deleted one."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from sapflow.errors import ObjectMissing, StoreError, StoreUnavailable
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records import rank_states
from sapflow.records.rank_states import RankStates
from sapflow_operator.wanted import Place

_SECONDS = 30.0


def read_outcome(place: Place, owner: Credentials, uid: str) -> dict[str, Any]:
    """The outcome record of a job that has succeeded. Raises StoreError."""
    store = open_store(place.url, owner)
    try:
        return dict(json.loads(bytes(store.read(keys.result(keys.job(uid), "outcome.json")))))
    except ObjectMissing:
        return {}
    finally:
        store.close()


def remove(place: Place, owner: Credentials, uid: str, *, keep: bool) -> None:
    """Remove a job's objects; `keep` leaves the result and what the last checkpoint stands on.

    Doing it again is harmless. Raises StoreError, StoreUnavailable.
    """
    store = open_store(place.url, owner)
    try:
        found = list(_list(place, owner, keys.job(uid)))
        kept = _kept(store, uid, found) if keep else set[str]()
        store.delete([key for key in found if key not in kept])
    finally:
        store.close()


def _kept(store: Store, uid: str, found: list[str]) -> set[str]:
    """The result, and the newest checkpoint with all that names or makes it."""
    kept = {key for key in found if key.startswith(keys.result(keys.job(uid), ""))}
    folder = keys.checkpoint(keys.job(uid), 0).removesuffix("0.json")
    names = [key.removeprefix(folder).removesuffix(".json") for key in found if key.startswith(folder)]
    versions = [int(name) for name in names if name.isdecimal()]
    if not versions:
        return kept
    newest = max(versions)
    try:
        checkpoint = json.loads(bytes(store.read(keys.checkpoint(keys.job(uid), newest))))
        commit = json.loads(bytes(store.read(keys.commit(keys.job(uid), newest))))
    except ObjectMissing:
        return kept
    kept |= {part["key"] for part in (*checkpoint["params"], *checkpoint["optimizer"])}
    states = [RankStates.model_validate(each) for each in checkpoint.get("states", ())]
    kept |= set(rank_states.all_keys(states, keys.job(uid)))
    kept |= {
        keys.spec(keys.job(uid)),
        keys.checkpoint(keys.job(uid), newest),
        keys.plan(keys.job(uid), commit["plan"]),
    }
    return kept | {keys.commit(keys.job(uid), 0), keys.commit(keys.job(uid), newest)}


def _list(place: Place, owner: Credentials, prefix: str) -> Iterator[str]:
    endpoint = urlsplit(place.endpoint)
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5.0, read=_SECONDS),
        retries=urllib3.Retry(total=3, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
    )
    client = Minio(
        endpoint.netloc,
        access_key=owner.access_key,
        secret_key=owner.secret_key,
        secure=endpoint.scheme == "https",
        region=place.region,
        http_client=pool,
    )
    try:
        for item in client.list_objects(place.bucket, prefix=prefix, recursive=True):
            yield item.object_name or ""
    except S3Error as error:
        if error.code != "NoSuchBucket":
            raise StoreError(f"{place.url}/{prefix} cannot be listed: {error.code}") from error
    except (urllib3.exceptions.HTTPError, MinioException) as error:
        raise StoreUnavailable(f"{place.endpoint} gave no listing of {prefix}: {error}") from error
    finally:
        pool.clear()
