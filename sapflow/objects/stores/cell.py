"""The store of a function in a cell: the job's store, with copies of parameters on the cell's volume.

The volume is a directory that the cell's functions share. A copy is made when parameters are first read, and by the
root that writes them. Everything that a commit names is in the job's store before the commit. So the loss of a volume
costs no more than the step in flight. (The cell channel puts contributions on the volume, too.)
"""

import fcntl
import logging
import os
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sapflow.errors import ObjectMissing, StoreError
from sapflow.objects import keys
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.protocol import Buffer, Listed, ObjectReader, Store
from sapflow.objects.stores.volume_reader import CopyReader

logger = logging.getLogger("sapflow.objects.store")

WAIT_SECONDS = 30.0
"""How long a function waits for a copy that another one makes; then it reads the job's store itself."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02
_LOCKS = 16
"""Number of lock files; each key belongs to one of them, and several keys may share it."""


@dataclass(slots=True)
class Passed:
    """Bytes read from and written to the job's store, data blocks and records included."""

    read: int = 0
    written: int = 0


class CellStore:
    """The Store of a function's process in a cell."""

    def __init__(
        self, store: Store, cell: int, directory: str, node: str = "", *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        """`directory` is the mount point of the volume of cell number `cell`; `node` is the Kubernetes node's name, if
        it is known."""
        self.url, self.cell, self.node, self.remote = store.url, cell, node, store.remote
        self.volume = DirectoryStore(directory)
        self._passed = Passed()
        self._store = store
        self._wait_seconds = wait_seconds
        self._counting = threading.Lock()

    def take_passed(self) -> Passed:
        """The bytes through the job's store since the last call of this method."""
        with self._counting:
            passed, self._passed = self._passed, Passed()
        return passed

    def _count(self, *, read: int = 0, written: int = 0) -> None:
        with self._counting:
            self._passed.read += read
            self._passed.written += written

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        made = self._store.create(key, parts, durable=durable)
        self._count(written=_size(parts))
        # If another writer was first, its bytes count; they are copied when they are read.
        if made and keys.is_params(key):
            try:
                self.volume.create(key, parts)
            except StoreError as error:
                logger.warning("cell %d: no copy of %s: %s", self.cell, key, error)
        return made

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        if keys.is_params(key) and self._has_copy(key):
            try:
                return self.volume.read(key, start, count)
            except StoreError:
                # The copy was removed just now; the store has the object, too.
                pass
        found = self._store.read(key, start, count)
        self._count(read=found.nbytes)
        return found

    def open(self, key: str) -> ObjectReader:
        if keys.is_params(key) and self._has_copy(key):
            try:
                return CopyReader(self.volume, key, lambda: self._open_original(key))
            except StoreError:
                # The copy was removed just now; the store has the object, too.
                pass
        return self._open_original(key)

    def _open_original(self, key: str) -> ObjectReader:
        reader = self._store.open(key)
        self._count(read=reader.size)
        return reader

    def exists(self, key: str) -> bool:
        return self._store.exists(key)

    def delete(self, keys: Iterable[str]) -> None:
        self._store.delete(keys)

    def collect(self, keys: Iterable[str]) -> None:
        """Remove objects from the volume, copies included. It never fails: what remains goes with the volume."""
        try:
            self.volume.delete(keys)
        except StoreError as error:
            logger.warning("cell %d: not collected: %s", self.cell, error)

    def list(self, prefix: str, *, shallow: bool = False) -> Iterator[Listed]:
        """Of the job's store alone: what a cell's volume holds goes with it."""
        return self._store.list(prefix, shallow=shallow)

    def delete_prefix(self, prefix: str) -> None:
        self._store.delete_prefix(prefix)

    def probe(self, prefix: str = "") -> None:
        self._store.probe(prefix)

    def close(self) -> None:
        self._store.close()

    def _has_copy(self, key: str) -> bool:
        """Whether the volume has a copy of a parameters object, after an attempt to make one if it had none.

        One function of the cell reads the object, the others wait for it. Raises what the job's store raises.
        """
        try:
            if self.volume.exists(key):
                return True
            with self._alone(key) as mine:
                if mine and not self.volume.exists(key):
                    with self._store.open(key) as reader:
                        self.volume.copy(key, reader)
                    self._count(read=reader.size)
            return self.volume.exists(key)
        except (ObjectMissing, OSError) as error:
            logger.debug("cell %d: no copy of %s: %s", self.cell, key, error)
        except StoreError as error:
            if error.retryable:
                raise
            logger.warning("cell %d: no copy of %s: %s", self.cell, key, error)
        return False

    @contextmanager
    def _alone(self, key: str) -> Iterator[bool]:
        """Hold the lock of a key; yields False if another process has held it for too long. A lock ends with its
        process."""
        folder = Path(self.volume.root, ".locks")
        folder.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink():
            raise StoreError(
                f"{folder}: is a symbolic link, and a cell's locks lie on its own volume: remove it"
            )
        name = zlib.crc32(key.encode()) % _LOCKS
        file = os.open(folder / str(name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            yield self._locked(file)
        finally:
            os.close(file)

    def _locked(self, file: int) -> bool:
        deadline, pause = time.monotonic() + self._wait_seconds, _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
            else:
                return True
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)


def _size(parts: Buffer | Sequence[Buffer]) -> int:
    if isinstance(parts, bytes | bytearray | memoryview):
        return memoryview(parts).nbytes
    return sum(memoryview(part).nbytes for part in parts)
