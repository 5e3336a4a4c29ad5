"""Looks up, in the store, the version of another job that a fork begins with."""

import asyncio
from collections.abc import Sequence
from contextlib import closing

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Records
from sapflow.spec.parameters import ParameterSpec
from sapflow.tuning.found_parameters import FoundParameters, read_found
from sapflow_operator.origin import MOST_OBJECTS, Origin, objects_of, prefix_of
from sapflow_operator.wanted import Place


def read_origin(place: Place, owner: Credentials, uid: str, version: int, trial: int | None = None) -> Origin:
    """What a fork of the job `uid`, or of that trial of the search `uid`, at `version` reads. Raises SpecError if the
    version is not there, StoreError."""
    with closing(open_store(place.url, owner)) as store:
        return asyncio.run(_read(store, uid, version, trial))


def is_result(place: Place, owner: Credentials, uid: str, version: int, trial: int) -> bool:
    """Whether a trial has ended with this version, which its search then keeps. Raises StoreError."""
    with closing(open_store(place.url, owner)) as store:
        return asyncio.run(_is_result(store, prefix_of(uid, trial), version))


def read_parameters(
    place: Place, owner: Credentials, uid: str, searched: Sequence[ParameterSpec], trial: int | None
) -> FoundParameters | None:
    """The parameters of a trial of a search, of the best one without `trial`; None if the search has no result. Raises
    SpecError, StoreError."""
    with closing(open_store(place.url, owner)) as store:
        return read_found(store, uid, searched, trial)


async def _is_result(store: Store, prefix: str, version: int) -> bool:
    outcome = await Records(store, prefix).read(keys.result(prefix, "outcome.json"))
    return outcome is not None and outcome.get("version") == version


async def _read(store: Store, uid: str, version: int, trial: int | None) -> Origin:
    prefix = prefix_of(uid, trial)
    job = f"job {uid}" if trial is None else f"trial {trial} of search {uid}"
    records = Records(store, prefix)
    first, commit = await records.commit(0), await records.commit(version)
    if first is None or commit is None or version < first.first_version:
        newest = await records.last()
        last = "nothing of it is trained" if newest is None else f"its last is {newest.version}"
        raise SpecError([("spec.from.version", f"the {job} has no version {version}: {last}")])
    names = commit.objects(prefix)
    if not all(store.exists(name) for name in names):
        remedy = await _remedy(store, records, trial)
        raise SpecError(
            [("spec.from.version", f"the {job} does not keep version {version} any more: {remedy}")]
        )
    patterns = objects_of(uid, prefix, commit)
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
    return Origin(uid, patterns, trial)


async def _remedy(store: Store, records: Records, trial: int | None) -> str:
    newest = await records.last()
    last = 0 if newest is None else newest.version
    if newest is not None and trial is not None:
        names = newest.objects(records.prefix)
        if not all(store.exists(name) for name in names):
            return "of a trial that was stopped nothing is kept, so name another trial"
    return f"name its last, {last}, or a checkpoint; its spec.checkpoint says which stay"
