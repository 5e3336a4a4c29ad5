"""A store in a directory, shared by the processes of one machine (or over a network file system).

Objects appear atomically: a file is written under a temporary name and gets its own by link(2), which fails if the
name exists. So the first writer wins, whichever process dies in between.
"""

# ruff: noqa: PTH100, PTH103, PTH106, PTH108, PTH114, PTH118, PTH120
# This module uses plain system calls: `create` is on the critical path of a 5 ms step, and pathlib would cost as much
# as the calls themselves.

import errno
import fcntl
import itertools
import mmap
import os
import random
import secrets
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from urllib.parse import quote

from sapflow.errors import ObjectMissing, StoreError, StoreUnsafe
from sapflow.objects.stores.buffers import (
    IOV_MAX,
    aligned_buffer,
    byte_views,
    check_key,
    check_prefix,
    check_range,
    rest_of,
)
from sapflow.objects.stores.probe import probe_store
from sapflow.objects.stores.protocol import Buffer, Listed, ObjectReader
from sapflow.objects.stores.reader import SequentialReader

_TEMPORARY = ".tmp"
_MAP_FROM = 2 << 20
"""Objects of at least this many bytes are mapped; to copy a smaller one costs less than the page faults of mapping."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PIECE = 1 << 20
"""Bytes that are in memory at once while an object is copied from another store."""
_TRIES = 20
_LONGEST_PAUSE = 0.005

_REMEDIES = {
    errno.ENOSPC: "disk full: free some space there, or store somewhere larger",
    errno.EDQUOT: "disk quota used up: free some space there, or store somewhere larger",
    errno.EROFS: "the file system is read-only: store somewhere writable, or mount it read-write",
    errno.EACCES: "permission denied: let this user read and write there, or store somewhere else",
    errno.EPERM: "not permitted: let this user read and write there, or store somewhere else",
    errno.ENOTDIR: "a part of the path is a file, not a directory: remove the file, or store somewhere else",
    errno.ENAMETOOLONG: "the path is too long for the file system: store in a directory of a shorter name",
    errno.ELOOP: "a symbolic link, which a store does not follow: remove it",
    errno.EMFILE: "this process has too many open files: raise its limit (ulimit -n)",
    errno.ENFILE: "the machine has too many open files: raise its limit (sysctl fs.file-max)",
}
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


def _failure(error: OSError, path: str) -> StoreError:
    """The StoreError for an error of the file system; it says what to do."""
    remedy = _REMEDIES.get(error.errno or 0, f"{error.strerror}: check the file system")
    return StoreError(f"{path}: {remedy}")


class DirectoryStore:
    """A store in the directory `root`, which the first write creates."""

    remote = False

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.url = f"file://{quote(self.root)}"
        self._temporary = os.path.join(self.root, _TEMPORARY)
        self._token = secrets.token_hex(4)
        self._counter = itertools.count()
        self._sweep()

    def create(self, key: str, parts: Buffer | Sequence[Buffer], *, durable: bool = False) -> bool:
        path = self._own_path(key)
        views = byte_views(parts)
        try:
            made = self._write_and_link(path, views, durable)
            if durable:
                self._sync_directories(path)
        except OSError as error:
            raise _failure(error, path) from error
        return made

    def copy(self, key: str, reader: ObjectReader) -> bool:
        """Write an object while it is read, in pieces. Returns True if this call created it.

        Raises what `create` and `reader` raise.
        """
        path = self._own_path(key)
        try:
            file, temporary = self._open_temporary()
            try:
                for start in range(0, reader.size, _PIECE):
                    _write(file, [reader.next(min(_PIECE, reader.size - start))])
                return _link(temporary, path)
            finally:
                _close(file, temporary)
        except OSError as error:
            raise _failure(error, path) from error

    def _write_and_link(self, path: str, views: list[memoryview], durable: bool) -> bool:
        file, temporary = self._open_temporary()
        try:
            _write(file, views)
            if durable:
                os.fsync(file)
            return _link(temporary, path)
        finally:
            _close(file, temporary)

    def _open_temporary(self) -> tuple[int, str]:
        """An empty file, which `_sweep` does not remove while it is open, and its name."""
        self._refuse_links(self._temporary)
        for _ in range(_TRIES):
            # The process id makes names distinct after a fork, the token across machines and containers.
            temporary = f"{self._temporary}/{self._token}-{os.getpid()}-{next(self._counter)}"
            try:
                file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                with suppress(FileNotFoundError, FileExistsError):
                    os.makedirs(self._temporary, exist_ok=True)
                continue
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                return file, temporary
            os.close(file)  # swept away between its making and its lock
        raise StoreError(
            f"{self._temporary}: what is written there vanishes at once: find out who removes it"
        )

    def _sync_directories(self, path: str) -> None:
        """Make the directory entries from the root to `path` durable, whichever process made them."""
        while path != self.root:
            path = os.path.dirname(path)
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def read(self, key: str, start: int = 0, count: int | None = None) -> memoryview:
        file, size = self._open(key)
        try:
            if count is None:
                count = size - start
            check_range(self._path(key), start, count, size)
            if count >= _MAP_FROM:
                return _map(file, start, count)
            target = aligned_buffer(count)
            _read_into(file, target, start)
            return target
        except OSError as error:
            raise _failure(error, self._path(key)) from error
        finally:
            os.close(file)

    def open(self, key: str) -> "DirectoryReader":
        file, size = self._open(key)
        return DirectoryReader(self._path(key), file, size)

    def _open(self, key: str) -> tuple[int, int]:
        path = self._path(key)
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ObjectMissing(f"{path}: no such object") from error
        except OSError as error:
            raise _failure(error, path) from error
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            os.close(file)
            raise ObjectMissing(f"{path}: not an object but a directory")
        return file, status.st_size

    def exists(self, key: str) -> bool:
        path = self._path(key)
        try:
            return stat.S_ISREG(os.lstat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _failure(error, path) from error

    def delete(self, keys: Iterable[str]) -> None:
        parents = set()
        for key in keys:
            path = self._own_path(key)
            parents.add(os.path.dirname(path))
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise _failure(error, path) from error
        for parent in parents:
            self._remove_empty(parent)

    def list(self, prefix: str, *, shallow: bool = False) -> Iterator[Listed]:
        if prefix:
            check_prefix(prefix)
        folder, name = os.path.split(os.path.join(self.root, prefix))
        self._refuse_links(folder)
        return self._list(folder, name, shallow)

    def _list(self, folder: str, name: str, shallow: bool) -> Iterator[Listed]:
        """Entries of a folder whose names start with `name`, and of its folders; one folder a level is held."""
        try:
            with os.scandir(folder) as found:
                entries = [
                    (f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name, entry.path)
                    for entry in found
                    if entry.name.startswith(name)
                    and entry.path != self._temporary
                    and not entry.is_symlink()
                ]
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _failure(error, folder) from error
        for shown, path in sorted(entries):
            key = os.path.relpath(path, self.root)
            if not shown.endswith("/"):
                with suppress(FileNotFoundError):
                    status = os.lstat(path)
                    yield Listed(key, status.st_size, modified=status.st_mtime)
            elif shallow:
                yield Listed(f"{key}/", 0)
            else:
                yield from self._list(path, "", shallow)

    def delete_prefix(self, prefix: str) -> None:
        check_prefix(prefix)
        folder, name = os.path.split(os.path.join(self.root, prefix))
        self._refuse_links(folder)
        try:
            opened = os.open(folder, _FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise _failure(error, folder) from error
        try:
            with os.scandir(opened) as found:
                entries = [entry.name for entry in found if entry.name.startswith(name)]
            for each in entries:
                if os.path.join(folder, each) != self._temporary:
                    _remove_tree(each, opened, folder)
        finally:
            os.close(opened)
        self._remove_empty(folder)

    def _remove_empty(self, folder: str) -> None:
        """Remove a folder and its parents as far as they are empty; `create` makes them again."""
        while folder != self.root:
            try:
                with suppress(FileNotFoundError):
                    os.rmdir(folder)
            except OSError:
                return
            folder = os.path.dirname(folder)

    def probe(self, prefix: str = "") -> None:
        """Refuse a directory without write permission, or without hard links."""
        probe_store(self, prefix)

    def close(self) -> None:
        """Does nothing, because no file stays open between calls."""

    def _path(self, key: str) -> str:
        check_key(key)
        return f"{self.root}/{key}"

    def _own_path(self, key: str) -> str:
        """The path of an object that is to be written or removed. Raises StoreError if it leads out of the store."""
        path = self._path(key)
        self._refuse_links(os.path.dirname(path))
        return path

    def _refuse_links(self, folder: str) -> None:
        """Raise StoreError if a folder below the root, or one above it there, is a symbolic link.

        Whoever can write into the root could put one there that leads to somebody else's files.
        """
        while len(folder) > len(self.root):
            with suppress(FileNotFoundError, NotADirectoryError):
                if stat.S_ISLNK(os.lstat(folder).st_mode):
                    raise StoreError(
                        f"{folder}: is a symbolic link, and a store follows none out of its own folder: remove the "
                        "link, or name the folder that it leads to as the store"
                    )
            folder = os.path.dirname(folder)

    def _sweep(self) -> None:
        """Remove temporary files of dead writers."""
        if os.path.islink(self._temporary):
            return
        try:
            entries = list(os.scandir(self._temporary))
        except OSError:
            return
        for entry in entries:
            try:
                file = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)
            except OSError:
                continue
            finally:
                os.close(file)


class DirectoryReader(SequentialReader):
    """Reads an object's file."""

    def __init__(self, path: str, file: int, size: int) -> None:
        super().__init__(path, size)
        self._file = file

    def fill(self, target: memoryview) -> None:
        try:
            _read_into(self._file, target, self.position)
        except OSError as error:
            raise _failure(error, self.name) from error

    def close(self) -> None:
        os.close(self._file)


def _close(file: int, temporary: str) -> None:
    # If the whole directory was removed meanwhile, this file is gone, too.
    with suppress(FileNotFoundError):
        os.unlink(temporary)
    os.close(file)


def _write(file: int, views: list[memoryview]) -> None:
    """Write all of `views`, also if the kernel accepts only a part at a time (2 GiB, or 1,024 buffers)."""
    while views:
        views = rest_of(views, os.writev(file, views[:IOV_MAX]))


def _link(temporary: str, path: str) -> bool:
    """Give a written file its name. Returns False if the name exists."""
    for tries in range(_TRIES):
        if tries > 2:
            # Another thread may repeat the same calls in lockstep with this one.
            time.sleep(random.uniform(0, _LONGEST_PAUSE))
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except FileNotFoundError:
            # The folder is new, or a `delete` has removed it because it was empty. It may do so again at any moment,
            # even between the two checks that makedirs makes for an existing folder.
            with suppress(FileNotFoundError, FileExistsError):
                os.makedirs(os.path.dirname(path), exist_ok=True)
        except OSError as error:
            if error.errno in _NO_HARD_LINKS:
                raise StoreUnsafe(
                    f"{path}: {error.strerror}: this file system has no hard links, so two writers could both "
                    "win; store on one that has (ext4, xfs, btrfs, tmpfs, NFS)"
                ) from error
            raise
        else:
            return True
    raise StoreError(f"{path}: its folder vanishes as fast as it is made: find out who removes it")


def _map(file: int, start: int, count: int) -> memoryview:
    """A private, copy-on-write map: pages are shared with the cache until the caller writes to them.

    Objects never change once they have a name, so the mapped file cannot shrink or change. The map lives as long as a
    view of it does.
    """
    offset = start - start % mmap.ALLOCATIONGRANULARITY
    skip = start - offset
    mapped = mmap.mmap(file, skip + count, access=mmap.ACCESS_COPY, offset=offset)
    return memoryview(mapped)[skip:]


def _read_into(file: int, target: memoryview, start: int) -> None:
    done = 0
    while done < len(target):
        got = os.preadv(file, [target[done:]], start + done)
        if not got:
            raise OSError(errno.EIO, "the file became shorter while it was read")
        done += got


def _remove_tree(name: str, folder: int, shown: str) -> None:
    """Remove the file or folder `name` of an open folder, whose path `shown` is for messages.

    A symbolic link is removed, and what it leads to stays. Files that writers add meanwhile are removed in a limited
    number of further rounds.
    """
    path = os.path.join(shown, name)
    for _ in range(_TRIES):
        try:
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=folder)
                return
            inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
            try:
                with os.scandir(inner) as entries:
                    names = [entry.name for entry in entries]
                for each in names:
                    _remove_tree(each, inner, path)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=folder)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise _failure(error, path) from error
        else:
            return
    raise StoreError(f"{path}: is written to while it is removed; end the job's processes first")
