"""The directory of an embedded runtime's sockets and logs: its path is short, it is private, and it is removed even
after a crash.

A directory is in use as long as a process holds a lock on it; a lock ends with its process.
"""

import fcntl
import os
import secrets
import shutil
import socket
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

SOCKET_PATH_BYTES = 100
"""The longest path of a socket: sun_path holds 104 bytes on macOS, 108 on Linux."""

LONGEST_NAME = "m1000000"


class RuntimeDirectory:
    """`path` is the directory; `unix` says whether Unix sockets work there."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Make a directory in XDG_RUNTIME_DIR, or that for temporary files, or /tmp, and remove stale ones there."""
        base = _base(environ)
        _sweep(base)
        # It is renamed to a name that others would remove only after it is locked.
        made = Path(tempfile.mkdtemp(prefix=".sapflow-", dir=base))
        self._lock = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = made.rename(base / f"sapflow-{secrets.token_hex(4)}")
        self.unix = _unix_sockets_work(self.path)
        self._remove = weakref.finalize(self, _remove, self.path, self._lock)

    def remove(self) -> None:
        """Remove the directory and everything in it. This happens at exit at the latest."""
        self._remove()


def _base(environ: Mapping[str, str]) -> Path:
    candidates = [environ.get("XDG_RUNTIME_DIR", ""), environ.get("TMPDIR", ""), "/tmp"]
    for candidate in candidates:
        path = Path(candidate)
        longest = path / "sapflow-01234567" / LONGEST_NAME
        if (
            candidate
            and os.access(path, os.W_OK | os.X_OK)
            and len(os.fsencode(longest)) <= SOCKET_PATH_BYTES
        ):
            return path
    # No short path is writable, so Unix sockets will not work there and the loopback address is used.
    return Path(tempfile.gettempdir())


def _unix_sockets_work(directory: Path) -> bool:
    path = directory / LONGEST_NAME
    if not hasattr(socket, "AF_UNIX") or len(os.fsencode(path)) > SOCKET_PATH_BYTES:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
            trial.bind(str(path))
        path.unlink()
    except OSError:
        return False
    return True


def _sweep(base: Path) -> None:
    for path in base.glob("sapflow-????????"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_uid == os.getuid():
                shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(fd)


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)
