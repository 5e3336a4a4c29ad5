"""Small secret files that are replaced while a process runs, such as those of a mounted Secret."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

CHECK_EVERY = 1.0
"""Seconds between two checks whether the files have changed."""
_TRIES = 5


class MountedFiles:
    """The texts of files that are replaced together, without trailing white space. Thread-safe.

    A check is one stat of the first file, because Kubernetes replaces all files of a mounted Secret at once. If the
    files cannot be read later, during a swap or after an unmount, the known texts stay in use.
    """

    def __init__(
        self,
        required: Sequence[str],
        optional: Sequence[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises OSError if a required file cannot be read; a missing optional one has the text ''."""
        self._required, self._optional, self._clock = tuple(required), tuple(optional), clock
        self._lock = threading.Lock()
        self._next_check = clock() + CHECK_EVERY
        self._mark, self._texts = self._read()

    def texts(self) -> tuple[str, ...]:
        """The texts, required files first. They are at most CHECK_EVERY seconds old."""
        now = self._clock()
        if now >= self._next_check:
            self._next_check = now + CHECK_EVERY
            try:
                changed = _mark(self._required[0]) != self._mark
            except OSError:
                changed = False
            if changed:
                return self.read_again()
        return self._texts

    def read_again(self) -> tuple[str, ...]:
        """The texts as they are now, read again in any case."""
        with self._lock:
            with suppress(OSError):
                self._mark, self._texts = self._read()
            return self._texts

    def _read(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """All texts of one state; if the files are swapped meanwhile, they are read again."""
        for _ in range(_TRIES):
            mark = _mark(self._required[0])
            texts = tuple(Path(path).read_text().strip() for path in self._required)
            texts += tuple(_text_if_any(path) for path in self._optional)
            if _mark(self._required[0]) == mark:
                break
        return mark, texts


def _mark(path: str) -> tuple[int, ...]:
    """A mark that differs between two states of a file. A Secret is swapped by symbolic link, so the inode changes."""
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _text_if_any(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except FileNotFoundError:
        return ""
