"""Prints lines of logs, unchanged or formatted for people."""

import json
from typing import TextIO

from sapflow.text import printable, to_json

_OWN = ("time", "level", "logger", "event", "error")
_STYLES = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m", "DEBUG": "\x1b[2m"}
_PLAIN = "\x1b[0m"


class Printer:
    """Writes lines of pods to a stream: formatted on a terminal, else unchanged."""

    def __init__(self, stream: TextIO, *, raw: bool) -> None:
        self.prefixed = False
        """Whether each line begins with its pod's name."""
        self._stream, self._raw = stream, raw
        self._readable = stream.isatty() and not raw

    def write(self, pod: str, line: str) -> None:
        text = readable(line) if self._readable else line
        prefix = f"{pod} " if self.prefixed and not self._raw else ""
        print(f"{prefix}{text}", file=self._stream, flush=True)


def readable(line: str) -> str:
    """An event as time, level, name and fields for a terminal. From other lines control characters are removed."""
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or "event" not in found:
        return printable(line)
    time, level = str(found.get("time", "")), str(found.get("level", ""))
    clock = time.partition("T")[2].rstrip("Z") or time
    fields = " ".join(f"{name}={_value(value)}" for name, value in found.items() if name not in _OWN)
    text = printable(f"{clock:<12} {level:<7} {found['event']}  {fields}".rstrip())
    if "error" in found:
        text += "\n" + printable(str(found["error"]))
    style = _STYLES.get(level)
    return text if style is None else f"{style}{text}{_PLAIN}"


def _value(value: object) -> str:
    match value:
        case str():
            return value if value and " " not in value else to_json(value)
        case float():
            return f"{value:.6g}"
        case _:
            return to_json(value)
