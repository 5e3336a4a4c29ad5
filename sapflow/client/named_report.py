"""`sapflow.report`: the report of a job or a search by its name in a store, as the command takes it."""

import os
from dataclasses import replace
from pathlib import Path

from sapflow.client import report as job_report
from sapflow.client import stored, tuning_report
from sapflow.client.background import run_apart
from sapflow.client.session import DEFAULT_STORE, uid_named
from sapflow.client.tuning import find_tuning
from sapflow.monitoring.report import gather, render

NOT_PREDICTED = "it is left out where a report is asked for by the job's name"


def report(name: str, path: str | Path | None = None, *, store: str | Path | None = None) -> str:
    """The report of a job or a search as a page of HTML that needs no network; with `path` it is written there, too.

    `name` is called as in its YAML, or by its uid or a beginning of that; a trial of a search is SEARCH/trials/7.
    `store` is a folder or a URL, by default `.sapflow` in the current folder. Raises DataError if the store has none of
    this name, if nothing of it has begun, for a search if Plotly is not installed, or if the file cannot be written;
    StoreError.
    """
    place = DEFAULT_STORE if store is None else str(store)
    search = find_tuning(uid_named(name, place), os.environ, store=place)
    if search is not None:
        with search:
            return tuning_report.page_of(search, path)
    with stored.find(name, os.environ, store=place) as opened:
        facts = run_apart(gather(opened.uid, opened.job, opened.store))
        page = render(replace(facts, not_predicted=NOT_PREDICTED))
    if path is not None:
        job_report.write(Path(path), page)
    return page
