"""`sapflow logs`: shows the logs of the driver and the functions of a job or a search."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from sapflow.cli.cluster_options import add_cluster, connect
from sapflow.cli.display_options import positive
from sapflow.cli.log_lines import Printer
from sapflow.cli.stop import insistent
from sapflow.client import cluster_job, job_logs, submission
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import ClusterRefused
from sapflow.client.log_pods import container_of, started

_DESCRIPTION = """\
Show the log of a job or a search in a cluster: that of its driver, or with --role that of its functions. Each line is
an event. On a terminal lines are formatted; in a pipe, or with --raw, they are the original JSON. Lines of several pods
begin with the pod's name, but not with --raw."""

_EPILOG = """\
examples:
  sapflow logs digits                      the driver's log, also of a driver that was replaced
  sapflow logs digits -n team --follow     until the job ends
  sapflow logs digits --role worker --tail 20
  sapflow logs tune/digits --follow        a search: its decisions, and what its trials came to
  sapflow logs digits --raw | jq 'select(.event == "evaluated")'"""


def add_to(commands: Any) -> None:
    parser = commands.add_parser(
        "logs",
        help="what a job in a cluster says",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "job",
        metavar="NAME",
        help="the job's or the search's name; tune/NAME is the search where both have it",
    )
    add_cluster(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the job ends")
    parser.add_argument(
        "--role", choices=cluster_job.ROLES, default="driver", help="whose log (default: driver)"
    )
    parser.add_argument("--since", type=positive, metavar="SECONDS", help="only lines as young as that")
    parser.add_argument("--tail", type=positive, metavar="N", help="only the last N lines of each pod")
    parser.add_argument(
        "--previous", action="store_true", help="the log of each container before it was last started anew"
    )
    parser.add_argument("--raw", action="store_true", help="lines as they were written")
    parser.set_defaults(command=logs, json=False)


def logs(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 if the job is known. Raises SapflowError."""
    cluster = connect(given, environ)
    namespace = cluster.namespace
    job = cluster.find(namespace, given.job)
    printer = Printer(sys.stdout, raw=given.raw)
    query = {"since_seconds": given.since, "tail_lines": given.tail, "previous": given.previous or None}
    known = {name: value for name, value in query.items() if value is not None}
    pods = cluster.pods(job, given.role)
    if not pods:
        print(_none(job, given.role), file=sys.stderr)
    if given.follow and not given.previous and not submission.finished(job):
        with insistent():
            for line in job_logs.follow(cluster, job, given.role, known):
                printer.prefixed = line.several
                printer.write(line.pod, line.text)
        return 0
    printer.prefixed = len(pods) > 1
    for pod in pods:
        _show(cluster, namespace, pod, printer, known)
    return 0


def _show(cluster: Cluster, namespace: str, pod: Object, printer: Printer, query: Mapping[str, Any]) -> None:
    name = pod["metadata"]["name"]
    if not started(pod):
        print(f"{name} has not started: {cluster_job.pod_state(pod)}", file=sys.stderr)
        return
    try:
        lines: Iterable[str] = cluster.log(namespace, name, container_of(pod), **query)
        for line in lines:
            printer.write(name, line)
    except ClusterRefused as error:
        # A pod may have been deleted since it was listed; a container may have no previous run.
        if error.status not in (400, 404):
            raise
        print(f"{name}: {error}", file=sys.stderr)


def _none(job: Object, role: str) -> str:
    said = cluster_job.condition(job, cluster_job.SUCCEEDED).get("message", "")
    state = cluster_job.state(job) + (f": {said}" if said else "")
    why = "" if role == "driver" else "; the logs of functions go with their pods"
    return f"{job['metadata']['name']} has no {role} pods now ({state}){why}"
