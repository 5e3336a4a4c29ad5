"""Chooses the display of a search for a command."""

from typing import TextIO

from sapflow.monitoring.tuning_display import TuningDisplay, TuningLines, json_line, plain_line
from sapflow.spec.tuning_job import TuningJob


def open_tuning_display(
    job: TuningJob, stream: TextIO, *, live: bool, as_json: bool, quiet: bool, title: str
) -> TuningDisplay:
    """The display that the options ask for. `title` is above the live table."""
    if quiet:
        return TuningDisplay(job)
    if as_json:
        return TuningLines(job, stream, json_line)
    if not live:
        return TuningLines(job, stream, plain_line)
    from sapflow.monitoring.tuning_table import TuningTable  # imports rich, which lines do not need

    return TuningTable(job, stream, title)
