"""Removes objects that are not needed: all but those of the last version, checkpoints, and versions still in use."""

import asyncio
import logging
from collections.abc import Iterable

from sapflow.driver.sweep import checkpoint_versions
from sapflow.errors import StoreError
from sapflow.objects import keys
from sapflow.objects.stores.protocol import Store
from sapflow.records.commits import Commit, Records
from sapflow.spec.training_job import CheckpointSpec
from sapflow.steps.garbage import CellGarbage
from sapflow.steps.leftovers import Leftovers

log = logging.getLogger(__name__)

_MOST_AGAIN = 1000
"""The most keys that wait for another try after their removal failed. Others stay until the sweep at the job's end."""


class Keeper:
    """Removes objects of committed steps in the background.

    Deleting an object twice is harmless, and what could not be removed is tried again with the next. Each commit names
    the earlier versions that may still have objects, and a driver that continues from the commit takes these over. So
    a crash leaves nothing behind.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        prefix: str,
        checkpoints: CheckpointSpec,
        garbage: CellGarbage | None = None,
    ) -> None:
        """`garbage` is what cells are to remove, for placed jobs."""
        self._store, self._records, self._prefix, self._spec = store, records, prefix, checkpoints
        self._garbage = garbage
        self._held: dict[tuple[int, str], list[str]] = {}
        self._checkpoints: dict[int, list[str]] = {}
        self._named: set[int] = set()
        self._unwanted: dict[str, int] = {}
        self._removing: dict[str, int] = {}
        self._waiting: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._newest = -1

    @property
    def kept(self) -> list[int]:
        """Versions before the newest one that may have objects in the store."""
        versions = {*self._unwanted.values(), *self._removing.values(), *self._checkpoints}
        versions.update(version for version, _ in self._held)
        return sorted(version for version in versions if version < self._newest)

    async def inherit(self, commit: Commit, left: Leftovers, last: Commit) -> None:
        """Take over a version of an earlier driver that came as far as `last`; `left` was needed only for its step."""
        self._newest = last.version
        self._named.add(commit.version)
        self.remove(left, commit.version)
        if self.is_checkpoint(commit.version):
            self._checkpoints[commit.version] = commit.objects(self._prefix)
            await self.record_checkpoint(commit)
        elif commit.version < last.version:
            self._discard(commit, standing=last)

    def hold(self, commit: Commit, who: str, *, with_optimizer: bool = False) -> None:
        """Keep a version's parameters, and `with_optimizer` its optimiser state, until `release`: `who` reads it."""
        self._held[commit.version, who] = (
            commit.objects(self._prefix) if with_optimizer else [part.key for part in commit.params]
        )

    def release(self, version: int, who: str) -> None:
        """Undo `hold`, and remove the objects that were kept for it."""
        self._held.pop((version, who), None)
        self.collect()

    def release_all_but(self, versions: Iterable[int], who: str) -> None:
        """Release all versions that `who` holds, except for `versions`."""
        stay = set(versions)
        self._held = {held: names for held, names in self._held.items() if held[1] != who or held[0] in stay}
        self.collect()

    def superseded(self, old: Commit, new: Commit, left: Leftovers) -> None:
        """Mark `left`, which only the step to `new` needed, and the objects of `old` that nobody reads."""
        self._newest = max(self._newest, new.version)
        self.remove(left, new.version)
        self._discard(old, standing=new)
        self.collect()

    def _discard(self, commit: Commit, *, standing: Commit) -> None:
        """Mark the objects of a version for removal, except for those that `standing` also uses."""
        # What a version of a fork stands on may be another job's.
        names = [name for name in commit.objects(self._prefix) if name.startswith(self._prefix)]
        if commit.version in self._named and not self.is_checkpoint(commit.version):
            names.append(keys.checkpoint(self._prefix, commit.version))
        self._unwanted.update(dict.fromkeys(names, commit.version))
        for name in standing.objects(self._prefix):
            self._unwanted.pop(name, None)

    def collect(self) -> None:
        """Remove the marked objects that nobody reads."""
        standing = {key for held in (*self._held.values(), *self._checkpoints.values()) for key in held}
        gone = {key: version for key, version in self._unwanted.items() if key not in standing}
        for key, version in gone.items():
            del self._unwanted[key]
            self.remove(Leftovers([key]), version)

    def is_checkpoint(self, version: int) -> bool:
        """Whether a version is one of the current checkpoints."""
        return version in checkpoint_versions(self._spec, self._newest)

    async def checkpoint(self, commit: Commit) -> bool:
        """Record a checkpoint if one is due, and release the oldest. Returns whether one was made."""
        if not self.is_checkpoint(commit.version):
            return False
        self._checkpoints[commit.version] = commit.objects(self._prefix)
        await self.record_checkpoint(commit)
        for expired in [version for version in self._checkpoints if not self.is_checkpoint(version)]:
            held = [name for name in self._checkpoints.pop(expired) if name.startswith(self._prefix)]
            names = [*held, keys.checkpoint(self._prefix, expired)]
            self._unwanted.update(dict.fromkeys(names, expired))
        for name in commit.objects(self._prefix):
            self._unwanted.pop(name, None)
        self.collect()
        return True

    async def record_checkpoint(self, commit: Commit) -> None:
        """Record a commit's objects as a checkpoint."""
        self._named.add(commit.version)
        key = keys.checkpoint(self._prefix, commit.version)
        await self._records.write(key, commit.checkpoint(), durable=True)

    def remove(self, left: Leftovers, version: int) -> None:
        """Mark what only the step to a version needed."""
        if self._garbage is not None:
            self._garbage.take_in(left)
        self._removing.update(dict.fromkeys(left.keys, version))
        self._waiting += left.keys

    def sweep(self) -> None:
        """Start to remove the marked objects. Call this when the driver, and ideally a core, is idle."""
        names, self._waiting = self._waiting, []
        if names:
            task = asyncio.create_task(self._delete(names))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _delete(self, names: list[str]) -> None:
        failed: list[str] = []
        try:
            await asyncio.to_thread(self._store.delete, sorted(names))
        except StoreError as error:
            failed = names[: max(0, _MOST_AGAIN - len(self._waiting))]
            log.warning("could not remove %d objects: %s", len(names), error)
        self._waiting += failed
        for name in {*names} - {*failed}:
            self._removing.pop(name, None)

    async def settle(self) -> None:
        """Remove all marked objects, and wait until that is done."""
        self.sweep()
        await asyncio.gather(*self._tasks)
