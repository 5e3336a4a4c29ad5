"""The options of commands that show how far they are, and numbers that such options take."""

import argparse
import sys
from typing import Any

from sapflow.monitoring.display import Display
from sapflow.monitoring.displays import open_display


def add_display(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how progress is shown; `--json` is each command's own."""
    parser.add_argument("--plain", action="store_true", help="plain lines instead of the live display")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the summary at the end")


def display_of(given: argparse.Namespace, title: str, platform: str) -> Display:
    """The display of a job that is asked for; `platform` is the one whose prices are shown."""
    return open_display(**shown(given), title=title, platform=platform)


def shown(given: argparse.Namespace) -> dict[str, Any]:
    """Where progress is shown, and in which form: the arguments that all displays are opened with."""
    stream = sys.stderr if given.json else sys.stdout
    live = stream.isatty() and not given.plain
    return {"stream": stream, "live": live, "as_json": given.json, "quiet": given.quiet}


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
