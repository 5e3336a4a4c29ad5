"""The report of a search in a store, for Python programs."""

from pathlib import Path

from sapflow.client import report as job_report
from sapflow.client.background import run_apart
from sapflow.client.tuning import TuningSession
from sapflow.monitoring.tuning_report import gather, render


def page_of(opened: TuningSession, path: str | Path | None = None) -> str:
    """The report of a search as a page of HTML; with `path` it is written there, too.

    Raises DataError if no trial of it has begun, if Plotly is not installed, or if the file cannot be written;
    StoreError.
    """
    page = render(run_apart(gather(opened.uid, opened.job, opened.store)))
    if path is not None:
        job_report.write(Path(path), page)
    return page
