"""Which objects stay: the last version, checkpoints, versions that somebody still reads. All others are collected."""

import asyncio
import logging

from sapflow import keys
from sapflow.driver.commits import Commit, Records
from sapflow.errors import StoreError
from sapflow.job import CheckpointSpec
from sapflow.store import Store

log = logging.getLogger(__name__)


class Keeper:
    """Removes objects of committed steps in the background. Deleting twice is harmless, so a crash costs nothing."""

    def __init__(self, store: Store, records: Records, uid: str, checkpoints: CheckpointSpec) -> None:
        self._store, self._records, self._uid, self._spec = store, records, uid, checkpoints
        self._held: dict[tuple[int, str], list[str]] = {}
        self._checkpoints: dict[int, list[str]] = {}
        self._unwanted: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._newest = -1

    async def recover(self, last: Commit) -> None:
        """Learn which checkpoints an earlier driver kept, and finish what it may not have removed."""
        self._newest = last.version
        for version in range(max(1, last.version - self._window), last.version + 1):
            if self.is_checkpoint(version) and (commit := await self._records.commit(version)) is not None:
                self._checkpoints[version] = _objects(commit)
                await self.record_checkpoint(commit)

    def hold(self, commit: Commit, who: str) -> None:
        """Somebody reads this version: its parameters stay until `release`."""
        self._held[commit.version, who] = [part.key for part in commit.params]

    def release(self, version: int, who: str) -> None:
        """The opposite of `hold`; what waited for it is collected."""
        self._held.pop((version, who), None)
        self._collect()

    def release_all_but(self, versions: set[int], who: str) -> None:
        """Release what `who` holds, these versions excepted."""
        for version, holder in [held for held in self._held if held[1] == who and held[0] not in versions]:
            self.release(version, holder)

    def superseded(self, old: Commit, new: Commit, used: list[str]) -> None:
        """`new` is committed: what only the step needed goes, and of `old` what nobody reads."""
        self._newest = max(self._newest, new.version)
        self._remove(used)
        self._unwanted.update(_objects(old))
        self._unwanted.difference_update(_objects(new))
        self._collect()

    def _collect(self) -> None:
        standing = {key for held in (*self._held.values(), *self._checkpoints.values()) for key in held}
        gone = self._unwanted - standing
        self._unwanted -= gone
        self._remove(sorted(gone))

    @property
    def _window(self) -> int:
        return self._spec.keep * (self._spec.every_steps or 0)

    def is_checkpoint(self, version: int) -> bool:
        """Whether a version is one of the checkpoints that are kept now."""
        every = self._spec.every_steps
        if every is None or version < 1 or version % every:
            return False
        return version > self._newest - self._window

    async def checkpoint(self, commit: Commit) -> bool:
        """Record a checkpoint when one is due, and let go of the oldest; whether one was made."""
        if not self.is_checkpoint(commit.version):
            return False
        self._checkpoints[commit.version] = _objects(commit)
        await self.record_checkpoint(commit)
        for expired in [version for version in self._checkpoints if not self.is_checkpoint(version)]:
            self._unwanted.update(self._checkpoints.pop(expired))
            self._unwanted.difference_update(_objects(commit))
            self._remove([keys.checkpoint(self._uid, expired)])
        self._collect()
        return True

    async def record_checkpoint(self, commit: Commit) -> None:
        """Name a commit's objects as a checkpoint."""
        named = {"version", "sizes", "slots", "params", "optimizer", "cursor"}
        body = commit.model_dump(by_alias=True, include=named)
        await self._records.write(keys.checkpoint(self._uid, commit.version), body, durable=True)

    def _remove(self, names: list[str]) -> None:
        if names:
            task = asyncio.create_task(self._delete(names))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _delete(self, names: list[str]) -> None:
        try:
            await asyncio.to_thread(self._store.delete, names)
        except StoreError as error:
            log.warning("left %d objects behind: %s", len(names), error)

    async def close(self) -> None:
        """Wait for removals under way."""
        await asyncio.gather(*self._tasks)


def _objects(commit: Commit) -> list[str]:
    return [part.key for part in (*commit.params, *commit.optimizer)]
