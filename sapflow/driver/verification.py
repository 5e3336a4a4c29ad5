"""Computes versions of a job again and compares them with what its commits recorded.

A version is made from the one before it, as that is kept in the store, or else from the nearest kept one. Nothing is
written to the job's prefix: whoever uses this gives a store that lies over the job's.
"""

import asyncio
from bisect import insort
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Literal

from sapflow.driver.replay import Replay
from sapflow.errors import DataError, ObjectMissing
from sapflow.objects.stores.digested import sha256_of
from sapflow.objects.stores.overlay import OverlayStore
from sapflow.records.commits import Commit, Records
from sapflow.records.computed_by import not_here

State = Literal["Same", "Differs", "NotCompared"]
RANK_STATES = "states of ranks"
SKIPPED = "whether the step was finite"


@dataclass(frozen=True, slots=True)
class Verified:
    """What became of one version: the objects that differ, by key, and what is to be said of it."""

    version: int
    state: State
    objects: tuple[str, ...] = ()
    note: str = ""
    elsewhere: tuple[str, ...] = ()
    """What the job's version was computed by and this one was not: CPUs and libraries, in words that follow "it was".
    """

    @property
    def parted(self) -> bool:
        """Whether the version differs, or one that it follows from, so that it could not be compared."""
        return self.state == "Differs" or (self.state == "NotCompared" and not self.objects)


MakeReplay = Callable[[], AbstractAsyncContextManager[Replay]]
"""A replay with functions of its own: what they keep warm goes by key, and a version that differs has two contents."""


class Verification:
    """Compares versions of one job."""

    def __init__(self, store: OverlayStore, prefix: str, replays: MakeReplay, staleness: int = 0) -> None:
        """`staleness`: how many commits old the version may be, beside the one before, that a step stands on."""
        self._store, self._prefix, self._replays, self._staleness = store, prefix, replays, staleness
        self._records = Records(store, prefix)
        self._commits: dict[int, Commit] = {}
        self._computed: dict[int, Commit] = {}
        """Versions as they were computed, where their keys are not those of the commit: a commit of an earlier release
        may have another digest today."""

    async def run(self, versions: Sequence[int]) -> AsyncIterator[Verified]:
        """Compute and compare these versions; each is yielded once it is known, in order.

        Raises DataError for versions that the job has not, or that cannot be computed; JobFailed, StoreError.
        """
        first, asked = await self._commit(0), set(versions)
        left = await self._needed(versions, first)
        while left:
            parted, elsewhere = None, tuple[str, ...]()
            async with self._replays() as replay:
                for version in left:
                    found, goes_on = await self._one(replay, first, version)
                    if version in asked:
                        yield found
                    if not goes_on:
                        parted, elsewhere = version, found.elsewhere
                        break
                    await self._forget(version)
            following = [] if parted is None else [version for version in left if version > parted]
            left = await self._after(following)
            for version in following:
                if version in asked and version not in left:
                    note = f"it follows from version {parted}, which differs here and is not kept"
                    yield Verified(version, "NotCompared", (), note, elsewhere)

    async def _one(self, replay: Replay, first: Commit, version: int) -> tuple[Verified, bool]:
        """A version compared, and whether the next one can be computed from what was computed."""
        made = await self._commit(version)
        if version == first.first_version:
            return await self._compared(made, await _beginning(replay, first, made))
        bases = {one.base for one in made.applied}
        versions = {base: await self._standing(base) for base in bases}
        again = await replay.step(first, await self._standing(version - 1), made, versions)
        if again.id != made.id:
            objects = {"params": again.params, "optimizer": again.optimizer, "states": again.states}
            self._computed[version] = made.model_copy(update=objects)
        found, goes_on = await self._compared(made, again)
        return replace(found, elsewhere=not_here(made.measured, again.measured)), goes_on

    async def _compared(self, made: Commit, again: Commit) -> tuple[Verified, bool]:
        version, found, recorded = made.version, again.digests, made.digests
        if made.skipped != again.skipped:
            note = "it was left out as not finite" if made.skipped else "now it is not finite"
            return Verified(version, "Differs", (SKIPPED,), note), False
        differing, unknown, replaced = list[str](), list[str](), list[str]()
        # A step that was left out has the objects of the version before.
        names = (
            []
            if made.skipped and not made.applied
            else [part.key for part in (*made.params, *made.optimizer)]
        )
        computed = [found.get(part.key) for part in (*again.params, *again.optimizer)]
        for key, now in zip(names, computed, strict=False):
            stands = await self._kept_sha256(key)
            if key in recorded and stands not in (None, recorded[key]):
                replaced.append(key)
            expected = recorded.get(key, stands)
            if expected is None or now is None:
                unknown.append(key)
            elif expected != now:
                differing.append(key)
        states = [each.sha256.states if each.sha256 is not None else None for each in (made, again)]
        if None not in states and states[0] != states[1]:
            differing.append(RANK_STATES)
        if differing:
            return Verified(version, "Differs", tuple(differing)), False
        if replaced:
            note = "what is computed is what the commit recorded, and the store holds another object"
            return Verified(version, "Differs", tuple(replaced), note), True
        if unknown:
            note = "its commit recorded no SHA-256, and its objects are gone"
            return Verified(version, "NotCompared", tuple(unknown), note), True
        return Verified(version, "Same"), True

    async def _needed(self, versions: Sequence[int], first: Commit) -> list[int]:
        """The versions to compute, in order: those asked for, and what they stand on back to what is kept."""
        needed, waiting = set(versions), sorted(versions)
        while waiting:
            version = waiting.pop()
            if version == first.first_version:
                continue
            for base in (await self._bases(version)) - needed:
                if not await self._is_kept(base):
                    needed.add(base)
                    insort(waiting, base)
        return sorted(needed)

    async def _after(self, left: Sequence[int]) -> list[int]:
        """Those of the versions that can be computed from what is kept, now that what was computed is of no use."""
        self._computed.clear()
        await asyncio.to_thread(self._store.delete_prefix, self._prefix)
        for place, version in enumerate(left):
            if all([await self._is_kept(base) for base in await self._bases(version)]):
                return list(left[place:])
        return []

    async def _forget(self, version: int) -> None:
        """Remove what was computed and no later version stands on."""
        old = version - 1 - self._staleness
        if old >= 0 and old in self._commits:
            standing = await self._standing(version)
            names = {*(await self._standing(old)).objects(self._prefix)} - {*standing.objects(self._prefix)}
            await asyncio.to_thread(self._store.delete, sorted(names))

    async def _bases(self, version: int) -> set[int]:
        """The versions whose objects a step reads."""
        return {version - 1, *(one.base for one in (await self._commit(version)).applied)}

    async def _is_kept(self, version: int) -> bool:
        """Whether the job's store has all objects of a version, as its commit recorded them."""
        commit = await self._commit(version)
        names, recorded = commit.objects(self._prefix), commit.digests
        lower = self._store.lower
        if not names or not all([await asyncio.to_thread(lower.exists, name) for name in names]):
            return False
        return all([await self._kept_sha256(key) == sha256 for key, sha256 in recorded.items()])

    async def _standing(self, version: int) -> Commit:
        """A version's commit, with the keys that it was computed under, if it was."""
        return self._computed.get(version) or await self._commit(version)

    async def _kept_sha256(self, key: str) -> str | None:
        """The SHA-256 of an object in the job's store; None if it is gone."""
        try:
            return await asyncio.to_thread(sha256_of, self._store.lower, key)
        except ObjectMissing:
            return None

    async def _commit(self, version: int) -> Commit:
        if version not in self._commits:
            found = await self._records.commit(version)
            if found is None:
                last = await self._records.last()
                ended = "it has none yet" if last is None else f"its last is {last.version}"
                raise DataError(f"the job has no version {version}: {ended}")
            self._commits[version] = found
        return self._commits[version]


async def _beginning(replay: Replay, first: Commit, made: Commit) -> Commit:
    """The job's first version again: from its seed, or of a fork from the job that it began at. Raises DataError if
    that is gone."""
    if first.origin is None:
        return await replay.first(first)
    try:
        return await replay.copied(first, made)
    except ObjectMissing as error:
        begin, parent = first.first_version, first.origin.job
        raise DataError(
            f"version {begin} was copied from job {parent}, and neither job keeps it any more ({error}): verify "
            "versions that follow from a kept one"
        ) from error
