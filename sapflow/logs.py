"""Structured logs: each event is one line on stderr with a JSON object.

Every record has the fields `time`, `level`, `logger` and `event`, and those in `extra={"fields": {...}}` (job, step,
rank, op, seconds …). A traceback is in the field `error`, so an event is always a single line.
"""

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON. `fields` are added to every line (role, instance)."""

    def __init__(self, fields: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self._fields = dict(fields or {})

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **self._fields,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str = "INFO", *, stream: TextIO | None = None, **fields: Any) -> None:
    """Send every record of `level` and above to `stream` (stderr) as JSON. Replaces earlier handlers.

    Raises ValueError for a level that is not one of LEVELS.
    """
    if level.upper() not in LEVELS:
        raise ValueError(f"log level {level!r} is none of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(fields))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def event(logger: logging.Logger, level: int, name: str, *, error: bool = False, **fields: Any) -> None:
    """Log one event with its fields; with `error` the traceback of the exception in flight."""
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={"fields": fields}, exc_info=error)
