"""`sapflow report`: writes a self-contained page about a job."""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sapflow.cli.cluster_find import asked_too, find_job
from sapflow.cli.cluster_options import add_cluster, cluster_named
from sapflow.cli.jobs import add_entrypoint, add_store, is_file, make_importable, session_of
from sapflow.cli.output import print_json
from sapflow.cli.stop import run_until_stopped
from sapflow.client import versions
from sapflow.client.cluster import Object
from sapflow.client.kubeconfig import has_cluster
from sapflow.client.report import with_prediction, write
from sapflow.client.session import Session, find_session
from sapflow.errors import DataError
from sapflow.monitoring.report import gather, render

_DESCRIPTION = """\
Write a page of HTML about a job: loss and accuracy over time and over cost, where the time of a step goes, the merge
tree, predictions beside measurements, memory, cost, faults. It needs no network and can be sent to others. For a job
that is running or was interrupted it shows what is committed. This only reads the store."""

_EPILOG = """\
examples:
  sapflow report job.yaml                                   writes report.html
  sapflow report .sapflow/jobs/digits-1a2b3c4d
  sapflow report digits-1a2b3c4d --store /data/sapflow -o digits.html
  sapflow report digits -n team --store 's3://sapflow?endpoint=http://localhost:9000'
      a job of a cluster; its store must be reachable (kubectl port-forward), with credentials in the environment"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "report",
        help="one page about a job",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "job",
        metavar="JOB[@VERSION]",
        help="the job's YAML, its name in the store or in the cluster, or its folder in the store; with a version, the "
        "job as it was then",
    )
    add_store(parser)
    add_cluster(parser)
    add_entrypoint(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("report.html"), metavar="PATH", help="default: report.html"
    )
    parser.add_argument(
        "--no-prediction", action="store_true", help="leave out the prediction, which builds the model"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object about what was written")
    parser.set_defaults(command=report)


def report(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 after writing the page. Raises DataError, StoreError, and errors of clusters."""
    given.job, version = versions.split(given.job)
    with session_named(given, environ) as session:
        facts = run_until_stopped(gather(session.uid, session.job, session.store, version))
        if given.no_prediction:
            facts = replace(facts, not_predicted="it was left out by --no-prediction")
        else:
            beside = given.job if is_file(given.job) else "-"
            importing = make_importable(session.job, beside, environ, session.url)
            consent = [*given.entrypoint, *(session.job.spec.model.code if is_file(given.job) else ())]
            facts = with_prediction(facts, session, importing, consent)
    write(given.output, render(facts), "give another path by --output")
    if given.json:
        print_json({"job": facts.uid, "state": facts.state, "report": str(given.output)})
    else:
        print(f"{facts.uid}: {facts.state}, version {facts.last.version:,}; written to {given.output}")
    return 0


def session_named(given: argparse.Namespace, environ: Mapping[str, str]) -> Session:
    """The session of a job, found by its name in the store, or else by its uid in a cluster."""
    if cluster_named(given):
        return _in_its_store(find_job(given, environ)[1], given, environ)
    try:
        return session_of(given.job, given.store, environ)
    except DataError as unknown:
        if is_file(given.job) or not has_cluster(environ):
            raise
        with asked_too(unknown):
            _, job = find_job(given, environ)
        return _in_its_store(job, given, environ)


def _in_its_store(job: Object, given: argparse.Namespace, environ: Mapping[str, str]) -> Session:
    """The session of a cluster's job in the store that the command line names."""
    name, namespace, uid = (job["metadata"][field] for field in ("name", "namespace", "uid"))
    if given.store is None:
        raise DataError(
            f"{name} is a job of the cluster (namespace {namespace}), whose store cannot be told "
            "from here: name it as it is reached from here, --store 's3://BUCKET?endpoint=http://localhost:9000' after "
            "kubectl port-forward, with credentials in SAPFLOW_S3_ACCESS_KEY and SAPFLOW_S3_SECRET_KEY"
        )
    return find_session(uid, environ, store=given.store)
