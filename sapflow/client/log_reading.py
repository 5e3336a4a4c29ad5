"""Finds the new lines in logs that are read repeatedly."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

_WRITTEN = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_NANOSECONDS = 10**9


class Rereading:
    """Finds the new lines in a log with timestamps that is read repeatedly."""

    def __init__(self) -> None:
        self.last: int | None = None
        """The time of the newest line so far, in nanoseconds since 1970."""
        self._untimed: set[str] = set()

    def new(self, lines: Iterable[str]) -> Iterator[str]:
        """The lines of an answer that no earlier answer had, without timestamps."""
        last, untimed = self.last, frozenset(self._untimed)
        for line in lines:
            written, text = stamped(line)
            if written is None:
                self._untimed.add(text)
                if text not in untimed:
                    yield text
            elif last is None or written > last:
                self.last = written if self.last is None else max(self.last, written)
                yield text


def stamped(line: str) -> tuple[int | None, str]:
    """The time of a line in a log with timestamps, in nanoseconds since 1970, and its text.

    Nodes insert lines without a timestamp. Such a line is returned unchanged, with None.
    """
    stamp, _, text = line.partition(" ")
    found = _WRITTEN.fullmatch(stamp)
    if found is None:
        return None, line
    clock, fraction, offset = found.groups(default="")
    try:
        seconds = int(datetime.fromisoformat(clock + offset).timestamp())
    except ValueError:
        return None, line
    return seconds * _NANOSECONDS + int(fraction.ljust(9, "0")), text
