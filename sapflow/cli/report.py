"""`sapflow report`: writes a self-contained page about a job or a search."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sapflow.cli import pipeline_report, search_report
from sapflow.cli.jobs import add_entrypoint, file_named, is_file, make_importable, read_documents
from sapflow.cli.output import print_json
from sapflow.cli.stop import run_until_stopped
from sapflow.cli.stored_job import OF_A_CLUSTER, add_stored_job, stored_job
from sapflow.client import versions
from sapflow.client.report import with_prediction, write
from sapflow.errors import DataError
from sapflow.monitoring.report import gather, render

_DESCRIPTION = """\
Write a page of HTML about a job: loss and accuracy over time and over cost, where the time of a step goes, the merge
tree, predictions beside measurements, memory, cost, faults. Of a search: the history of its objective, parallel
coordinates, the importance of parameters, values on the way, dollars, calls in flight, its best trials; its charts are
interactive. The page needs no network and can be sent to others. For a job or a search that is running or was
interrupted it shows what is committed. This only reads the store.

Of a file of several documents, on this machine or applied to a cluster: raw rows, the reports of its searches and jobs,
what is served, and each stage's forecast beside what it took."""

_EPILOG = """\
examples:
  sapflow report job.yaml                                   writes report.html
  sapflow report tune.yaml                                  of a search; needs pip install 'sapflow[report]'
  sapflow report pipeline.yaml --served http://127.0.0.1:8080
  sapflow report pipeline.yaml -n team --store 's3://sapflow?endpoint=http://localhost:9000'
      one that was applied to a cluster, with what its ModelService has counted
  sapflow report .sapflow/jobs/digits-1a2b3c4d
  sapflow report digits-1a2b3c4d --store /data/sapflow -o digits.html
"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="one page about a job or a search",
        description=_DESCRIPTION,
        epilog=_EPILOG + OF_A_CLUSTER.format(command="report"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_stored_job(parser, "with a version, the job as it was then")
    add_entrypoint(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="PATH", help="default: report.html"
    )
    parser.add_argument(
        "--no-prediction", action="store_true", help="leave out the prediction, which builds the model"
    )
    parser.add_argument(
        "--served",
        metavar="URL",
        help="of a file of several documents: what the process that serves its model there has counted, too",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object about what was written")
    parser.set_defaults(command=report)


def report(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 after writing the page. Raises DataError, StoreError, and errors of clusters."""
    name, version = versions.split(given.job)
    if is_file(name) and len(documents := read_documents(name)) > 1:
        if version is not None:
            raise DataError(f"{name} has several documents and no versions: leave out @{version}")
        return pipeline_report.report(given, documents, environ)
    if given.served is not None:
        raise DataError(f"--served is for a file of several documents, and {name} is none: leave it out")
    search = search_report.find(name, given, environ)
    if search is not None:
        if version is not None:
            search.store.close()
            raise DataError(f"{name} is a search and has no versions: its trials have; leave out @{version}")
        return search_report.report(search, given)
    session, name, version = stored_job(given, environ)
    with session:
        facts = run_until_stopped(gather(session.uid, session.job, session.store, version))
        if given.no_prediction:
            facts = replace(facts, not_predicted="it was left out by --no-prediction")
        else:
            file = file_named(name)
            importing = make_importable(session.job, file or "-", environ, session.url)
            consent = [*given.entrypoint, *(session.job.spec.model.code if file is not None else ())]
            facts = with_prediction(facts, session, importing, consent)
    write(given.output, render(facts), "give another path by --output")
    if given.json:
        print_json({"job": facts.uid, "state": facts.state, "report": str(given.output)})
    else:
        print(f"{facts.uid}: {facts.state}, version {facts.last.version:,}; written to {given.output}")
    return 0
