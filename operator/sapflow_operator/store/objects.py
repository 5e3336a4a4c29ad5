"""A job's objects in the store: the outcome of a finished job, the clean-up of a deleted one."""

import json
from typing import Any

from sapflow.errors import BucketMissing, ObjectMissing
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records import rank_states
from sapflow.records.rank_states import RankStates
from sapflow_operator.wanted import Place


def read_outcome(place: Place, owner: Credentials, uid: str) -> dict[str, Any]:
    """The outcome record of a successful job. Raises StoreError."""
    store = open_store(place.url, owner)
    try:
        return dict(json.loads(bytes(store.read(keys.result(keys.job(uid), "outcome.json")))))
    except ObjectMissing:
        return {}
    finally:
        store.close()


def remove(place: Place, owner: Credentials, uid: str, *, keep: bool) -> None:
    """Remove a job's objects; with `keep` the result and the objects of the last checkpoint stay.

    It may be repeated. Raises StoreError, StoreUnavailable.
    """
    store = open_store(place.url, owner)
    try:
        found = [each.key for each in store.list(keys.job(uid))]
        kept = _kept(store, uid, found) if keep else set[str]()
        store.delete([key for key in found if key not in kept])
    except BucketMissing:
        pass  # and with it all that was to be removed
    finally:
        store.close()


def _kept(store: Store, uid: str, found: list[str]) -> set[str]:
    """The keys of the result and of the newest checkpoint, with all records and objects that belong to it."""
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
