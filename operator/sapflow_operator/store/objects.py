"""A job's objects in the store: the outcome of a finished job, the clean-up of a deleted one."""

import asyncio
import json
from itertools import islice
from typing import Any

from sapflow.errors import BucketMissing, CorruptObject, ObjectMissing
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records import rank_states
from sapflow.records.commits import Records
from sapflow.records.rank_states import RankStates
from sapflow_operator.wanted import Place

_AT_ONCE = 1000
"""The number of objects that one request removes."""


def read_outcome(place: Place, owner: Credentials, uid: str) -> dict[str, Any]:
    """The outcome record of a successful job. Raises StoreError."""
    store = open_store(place.url, owner)
    try:
        return _read(store, keys.result(keys.job(uid), "outcome.json"))
    except ObjectMissing:
        return {}
    finally:
        store.close()


def keep_last_version(place: Place, owner: Credentials, uid: str) -> None:
    """Record the last committed version of a job as a checkpoint, if there is one. It may be repeated. Raises
    StoreError."""
    store = open_store(place.url, owner)
    try:
        asyncio.run(_keep_last_version(Records(store, keys.job(uid))))
    finally:
        store.close()


async def _keep_last_version(records: Records) -> None:
    last = await records.last()
    if last is not None:
        await records.write(keys.checkpoint(records.prefix, last.version), last.checkpoint(), durable=True)


def remove(place: Place, owner: Credentials, uid: str, *, keep: bool) -> None:
    """Remove a job's objects; with `keep` the result and the objects of the last checkpoint stay.

    A search's trials lie below its prefix and go with it. It may be repeated. Raises StoreError, StoreUnavailable.
    """
    store, prefix = open_store(place.url, owner), keys.job(uid)
    try:
        kept = _kept(store, uid) if keep else set[str]()
        result = keys.result(prefix, "") if keep else None
        # A search may have hundreds of thousands of objects.
        found = (each.key for each in store.list(prefix))
        removed = (key for key in found if key not in kept and not (result and key.startswith(result)))
        while names := list(islice(removed, _AT_ONCE)):
            store.delete(names)
    except BucketMissing:
        pass  # and with it all that was to be removed
    finally:
        store.close()


def _read(store: Store, key: str) -> dict[str, Any]:
    """A JSON record. Raises StoreError."""
    try:
        found = json.loads(bytes(store.read(key)))
    except (ValueError, RecursionError) as error:
        raise CorruptObject(f"object {key} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CorruptObject(f"object {key} is no record")
    return found


def _kept(store: Store, uid: str) -> set[str]:
    """The keys of the newest checkpoint, with all records and objects that belong to it."""
    kept = set[str]()
    folder = keys.checkpoint(keys.job(uid), 0).removesuffix("0.json")
    names = [each.key.removeprefix(folder).removesuffix(".json") for each in store.list(folder)]
    versions = [int(name) for name in names if name.isdecimal()]
    if not versions:
        return kept
    newest = max(versions)
    try:
        checkpoint = _read(store, keys.checkpoint(keys.job(uid), newest))
        commit = _read(store, keys.commit(keys.job(uid), newest))
    except ObjectMissing:
        return kept
    try:
        kept |= {part["key"] for part in (*checkpoint["params"], *checkpoint["optimizer"])}
        states = [RankStates.model_validate(each) for each in checkpoint.get("states", ())]
        kept |= {
            *rank_states.all_keys(states, keys.job(uid)),
            keys.spec(keys.job(uid)),
            keys.checkpoint(keys.job(uid), newest),
            keys.plan(keys.job(uid), commit["plan"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptObject(
            f"the checkpoint of version {newest} of job {uid} is broken: {error!r}"
        ) from error
    return kept | {keys.commit(keys.job(uid), 0), keys.commit(keys.job(uid), newest)}
