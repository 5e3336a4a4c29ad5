"""Small secret files that somebody replaces under a running process: a mounted Secret that is renewed."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

LOOK_EVERY = 1.0
"""Seconds between two looks at whether the files have changed."""
_TRIES = 5


class MountedFiles:
    """The texts of files that are replaced together, without white space at their ends. Safe to use from threads.

    A look is one stat of the first file: Kubernetes swaps all files of a mounted Secret at once, so one tells of all.
    What cannot be read later, in the middle of a swap or after an unmount, leaves what is known standing.
    """

    def __init__(
        self,
        required: Sequence[str],
        optional: Sequence[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises OSError where a required file cannot be read; an optional one that is missing has the text ''."""
        self._required, self._optional, self._clock = tuple(required), tuple(optional), clock
        self._lock = threading.Lock()
        self._next_look = clock() + LOOK_EVERY
        self._mark, self._texts = self._read()

    def texts(self) -> tuple[str, ...]:
        """The texts, required files first; at most so old as LOOK_EVERY says."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            try:
                changed = _mark(self._required[0]) != self._mark
            except OSError:
                changed = False
            if changed:
                return self.read_again()
        return self._texts

    def read_again(self) -> tuple[str, ...]:
        """The texts as they are now, whatever a look would say."""
        with self._lock:
            with suppress(OSError):
                self._mark, self._texts = self._read()
            return self._texts

    def _read(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """All texts of one state: a swap between two reads starts them anew."""
        for _ in range(_TRIES):
            mark = _mark(self._required[0])
            texts = tuple(Path(path).read_text().strip() for path in self._required)
            texts += tuple(_text_if_any(path) for path in self._optional)
            if _mark(self._required[0]) == mark:
                break
        return mark, texts


def _mark(path: str) -> tuple[int, ...]:
    """What differs between two states of a file: Secrets are swapped by a symbolic link, so the file is another."""
    status = os.stat(path)  # noqa: PTH116
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _text_if_any(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except FileNotFoundError:
        return ""
