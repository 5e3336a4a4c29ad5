"""Output that all commands share: exit codes, errors, paths."""

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sapflow.errors import JobFailed, SapflowError, SpecError
from sapflow.text import printable, to_json

FAILED, BAD_INPUT, UNUSABLE = 1, 2, 3

_CODES = {
    "InvalidSpec": BAD_INPUT,
    "InvalidData": BAD_INPUT,
    "StoreFailed": UNUSABLE,
    "StoreUnavailable": UNUSABLE,
    "StoreUnsafe": UNUSABLE,
    "CorruptObject": UNUSABLE,
    "LaterRelease": UNUSABLE,
    "ObjectMissing": UNUSABLE,
    "JobUnknown": BAD_INPUT,
    "SearchNotEnded": BAD_INPUT,
    "ClientMissing": UNUSABLE,
    "TrackerMissing": UNUSABLE,
    "TrackerFailed": UNUSABLE,
    "NoCluster": UNUSABLE,
    "NotInstalled": UNUSABLE,
    "ClusterRefused": UNUSABLE,
    "ClusterUnavailable": UNUSABLE,
}


def exit_code(error: SapflowError) -> int:
    """The exit code for an error, chosen by its reason, so a failure inside a function counts like one outside."""
    return _CODES.get(error.reason, FAILED)


def error_body(error: SapflowError) -> dict[str, Any]:
    """An error as a JSON value."""
    body: dict[str, Any] = {"reason": error.reason, "message": str(error), "exitCode": exit_code(error)}
    if isinstance(error, SpecError):
        body["problems"] = [{"field": field, "message": message} for field, message in error.problems]
    if isinstance(error, JobFailed):
        body["version"] = error.version
    return body


def report_error(error: SapflowError, *, as_json: bool, **beside: Any) -> int:
    """Print an error, and return the exit code. `beside` is added to the JSON object."""
    if as_json:
        print_json({**beside, "error": error_body(error)})
    else:
        lines = printable(str(error)).splitlines() or [error.reason]
        head = "sapflow: error: "
        if isinstance(error, SpecError):
            print(f"{head}these fields have to be put right:", file=sys.stderr)
            head = "  "
        for line in lines:
            print(f"{head}{line}", file=sys.stderr)
            head = "  "
        for note in getattr(error, "__notes__", ()):
            print(f"  {printable(note)}", file=sys.stderr)
    return exit_code(error)


def print_json(body: dict[str, Any]) -> None:
    """Print a JSON object, which is all that the command writes to standard output."""
    print(to_json(body, indent=2))


def local_path(url: str) -> str | None:
    """The path of a file:// URL, relative if it is below the current folder; None for other URLs."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        return None
    path = Path(unquote(parts.path))
    here = Path(os.path.realpath("."))
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def location(url: str) -> str:
    """The path of a file:// URL; other URLs as they are."""
    return local_path(url) or url
