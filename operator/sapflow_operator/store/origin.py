"""Looks up, in the store, the version of another job that a fork begins with."""

import asyncio

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow_operator.origin import MOST_OBJECTS, Origin, objects_of
from sapflow_operator.wanted import Place


def read_origin(place: Place, owner: Credentials, uid: str, version: int) -> Origin:
    """What a fork of the job `uid` at `version` reads. Raises SpecError if the version is not there, StoreError."""
    store = open_store(place.url, owner)
    try:
        return asyncio.run(_read(store, uid, version))
    finally:
        store.close()


async def _read(store: Store, uid: str, version: int) -> Origin:
    prefix = keys.job(uid)
    records = Records(store, prefix)
    first, commit = await records.commit(0), await records.commit(version)
    if first is None or commit is None or version < first.first_version:
        newest = await records.last()
        last = "nothing of it is trained" if newest is None else f"its last is {newest.version}"
        raise SpecError([("spec.from.version", f"the job {uid} has no version {version}: {last}")])
    names = commit.objects(prefix)
    if not all(store.exists(name) for name in names):
        raise SpecError(
            [
                (
                    "spec.from.version",
                    f"the job {uid} does not keep version {version} any more: name its last, {await _last(records)}, "
                    "or a checkpoint; its spec.checkpoint says which stay",
                )
            ]
        )
    patterns = objects_of(prefix, commit)
    if len(patterns) > MOST_OBJECTS:
        raise SpecError(
            [
                (
                    "spec.from.version",
                    f"version {version} stands on states of ranks of {len(patterns)} steps, more than a job's policy "
                    "can name: fork a version after a step of all ranks",
                )
            ]
        )
    return Origin(uid, patterns)


async def _last(records: Records) -> int:
    newest = await records.last()
    return 0 if newest is None else newest.version
