"""The part of `sapflow status` that asks a cluster."""

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime

from sapflow.cli import follow
from sapflow.cli.cluster_find import asked_too, find_job
from sapflow.cli.cluster_options import add_cluster, cluster_named, connect
from sapflow.cli.output import print_json
from sapflow.client import cluster_job
from sapflow.client.cluster import Cluster
from sapflow.client.submission import describe_now
from sapflow.errors import DataError


def add_to(parser: argparse.ArgumentParser) -> None:
    """The options of jobs in a cluster."""
    add_cluster(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="list the jobs of all namespaces")
    parser.add_argument("--watch", action="store_true", help="follow the job to its end")
    parser.add_argument(
        "--plain", action="store_true", help="with --watch: plain lines instead of the live display"
    )


def asked(given: argparse.Namespace) -> bool:
    """Whether the command line names a cluster. Raises DataError if it also names a local store."""
    named = given.all_namespaces or given.watch or cluster_named(given)
    if named and given.store is not None:
        raise DataError(
            "--store is for local runs, -n, -A, --context, --kubeconfig and --watch are for clusters"
        )
    return bool(named)


def status(given: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Returns exit code 0 if the job is known, with --watch if it succeeded. Raises SapflowError."""
    if given.watch and given.job is None:
        raise DataError("--watch follows one job: name it")
    if given.all_namespaces and given.job is not None:
        raise DataError("-A lists the jobs of all namespaces; for one job say its namespace with -n")
    if given.job is None:
        return _list(given, connect(given, environ))
    cluster, job = find_job(given, environ)
    if given.watch:
        return follow.follow(cluster, given, job, from_the_start=False)
    body = describe_now(cluster, job)
    if given.json:
        print_json(body)
    else:
        follow.print_job(body)
    return 0


def status_elsewhere(given: argparse.Namespace, environ: Mapping[str, str], unknown: DataError) -> int:
    """The status of a job that no local store knows. Raises `unknown` if the cluster does not know it either."""
    with asked_too(unknown):
        return status(given, environ)


def _list(given: argparse.Namespace, cluster: Cluster) -> int:
    now = datetime.now(UTC)
    place = None if given.all_namespaces else cluster.namespace
    found = [cluster_job.describe(job, None, None, now) for job in cluster.jobs(place)]
    if given.json:
        print_json({"jobs": found})
    elif found:
        print("\n".join(cluster_job.table(found, namespaces=given.all_namespaces)))
    else:
        print(f"no jobs in {'the cluster' if place is None else f'namespace {place}'} at {cluster.server}")
    return 0
