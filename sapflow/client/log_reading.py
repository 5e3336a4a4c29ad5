"""Logs that are read again and again: which of their lines are new."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime

_WRITTEN = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")
_NANOSECONDS = 10**9


class Rereading:
    """Tells what is new in a log with timestamps that is read again and again."""

    def __init__(self) -> None:
        self.last: int | None = None
        """When the youngest line so far was written, in nanoseconds since 1970."""
        self._untimed: set[str] = set()

    def new(self, lines: Iterable[str]) -> Iterator[str]:
        """What the lines of one answer say that no answer before it said."""
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
    """When a line of a log with timestamps was written, in nanoseconds since 1970, and what it says.

    Not every line has a time: nodes put words of their own between. Such a line is told whole, with None.
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
