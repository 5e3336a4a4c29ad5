"""The sweep at the end of a job: whatever neither its result nor a version to be kept stands on is removed.

While a job trains, the keeper removes what its driver knows of. Some objects no driver knows of: what a straggler wrote
after its key had been removed, cursors of hedges that lost, checkpoints that a slow second driver recorded late. They
are found by listing, once the outcome exists and nobody needs anything else. Of a job that has failed everything stays
that a driver may go on from.
"""

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from sapflow.errors import SapflowError
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Commit, Records
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import CheckpointSpec

log = logging.getLogger(__name__)

_AT_ONCE = 1000
"""The number of objects that one request removes."""


def checkpoint_versions(spec: CheckpointSpec, newest: int) -> list[int]:
    """The versions that are checkpoints while `newest` is the last one, in order."""
    every = spec.every_steps
    if every is None:
        return []
    last = newest - newest % every
    return [version for version in range(last - (spec.keep - 1) * every, last + 1, every) if version >= 1]


async def sweep_up(
    resolved: ResolvedJob,
    store: Store,
    pinned: Collection[int] = (),
    *,
    outcome: Mapping[str, Any] | None = None,
    known: Commit | None = None,
) -> None:
    """Remove what a finished job does not need, its `pinned` versions apart; does nothing for any other job.

    `outcome` is the job's, and `known` a commit of it, as new as possible, where they need not be read. It never fails:
    what it cannot remove goes with the job. Two sweeps at once do no harm.
    """
    try:
        kept = await _kept(resolved, Records(store, resolved.prefix), pinned, outcome, known)
        if kept is not None:
            await asyncio.to_thread(_remove_all_but, kept, resolved.prefix, store)
    except SapflowError as error:
        log.warning("not all objects that the job no longer needs could be removed: %s", error)


async def sweep_failed(resolved: ResolvedJob, store: Store, pinned: Collection[int] = ()) -> None:
    """Remove what a job that has failed does not need to be taken up again, to be forked or exported.

    Its last version stays, with its checkpoints, `pinned` versions, and those that it has not judged yet. It never
    fails. A driver that is at work all the same repeats its step at the worst: of what is newer than the last version
    only contributions are removed.
    """
    try:
        records, prefix = Records(store, resolved.prefix), resolved.prefix
        last = await records.last()
        newest = 0 if last is None else last.version
        recorded = {*checkpoint_versions(resolved.job.spec.checkpoint, newest), newest}
        kept = {keys.checkpoint(prefix, version) for version in recorded}
        kept |= await _objects(records, {*recorded, *pinned, *(() if last is None else last.kept)}, last)
        await asyncio.to_thread(_remove_all_but, kept, prefix, store, newest)
    except SapflowError as error:
        log.warning("not all objects that the failed job no longer needs could be removed: %s", error)


async def sweep_stopped(prefix: str, store: Store) -> None:
    """Remove the models that a finished job has left where it was suspended before. It never fails."""
    try:
        found = [each.key for each in await asyncio.to_thread(list, store.list(keys.stopped_models(prefix)))]
        await asyncio.to_thread(store.delete, found)
    except SapflowError as error:
        log.warning("models of a job as it stood earlier could not be removed: %s", error)


async def sweep_away(prefix: str, store: Store, pinned: Collection[int]) -> None:
    """Remove all versions of a job that is never taken up again, but those that are `pinned`. Raises StoreError."""
    kept = await _objects(Records(store, prefix), pinned)
    await asyncio.to_thread(_remove_all_but, kept, prefix, store)


async def _kept(
    resolved: ResolvedJob,
    records: Records,
    pinned: Collection[int],
    outcome: Mapping[str, Any] | None,
    known: Commit | None,
) -> set[str] | None:
    """The keys of the objects that stay, None if the job is not finished."""
    prefix = resolved.prefix
    if outcome is None:
        outcome = await records.read(keys.result(prefix, "outcome.json"))
    last = await records.last(known)
    if outcome is None or last is None:
        return None
    recorded = {*checkpoint_versions(resolved.job.spec.checkpoint, last.version), int(outcome["version"])}
    kept = {keys.checkpoint(prefix, version) for version in recorded}
    return kept | await _objects(records, recorded | {last.version, *pinned}, last)


async def _objects(records: Records, versions: Collection[int], known: Commit | None = None) -> set[str]:
    """The keys of the objects of these versions, as far as there are such. `known` is one that need not be read."""
    found = set[str]()
    for version in versions:
        is_known = known is not None and version == known.version
        commit = known if is_known else await records.commit(version)
        found.update(() if commit is None else commit.objects(records.prefix))
    return found


def _remove_all_but(kept: set[str], prefix: str, store: Store, newest: int | None = None) -> None:
    """Remove what a version stands on, or was needed to make it. `newest`: objects of later ones stay, contributions
    apart."""
    unneeded = _unneeded(kept, prefix, store, newest)
    while names := list(islice(unneeded, _AT_ONCE)):
        store.delete(names)


def _unneeded(kept: set[str], prefix: str, store: Store, newest: int | None) -> Iterator[str]:
    for folder in keys.of_versions(prefix):
        for each in store.list(folder):
            version = keys.version_of(each.key.removeprefix(folder))
            later = newest is not None and version is not None and version > newest
            if each.key not in kept and not (later and folder != keys.work(prefix)):
                yield each.key
