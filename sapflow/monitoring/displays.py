"""Chooses the display for a command."""

from typing import TextIO

from sapflow.monitoring.display import Display, LineDisplay, json_line, plain_line


def open_display(
    stream: TextIO,
    *,
    live: bool,
    as_json: bool,
    quiet: bool,
    title: str,
    platform: str,
) -> Display:
    """The display that the options ask for. `title` is the job's title in a live display."""
    if quiet:
        return Display()
    if as_json:
        return LineDisplay(stream, json_line)
    if not live:
        return LineDisplay(stream, plain_line)
    from sapflow.monitoring.live import LiveDisplay  # imports rich, which line displays do not need

    return LiveDisplay(stream, title, platform)
