"""The display that a command asks for."""

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
    """The display asked for. `title` is what a live one shows of the job."""
    if quiet:
        return Display()
    if as_json:
        return LineDisplay(stream, json_line)
    if not live:
        return LineDisplay(stream, plain_line)
    from sapflow.monitoring.live import LiveDisplay  # rich, which lines do without

    return LiveDisplay(stream, title, platform)
