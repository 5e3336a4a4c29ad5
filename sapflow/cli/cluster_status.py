"""The part of `sapflow status` that asks a cluster."""

import argparse
import contextlib
from collections.abc import Mapping

from sapflow.cli import follow
from sapflow.cli.cluster_find import asked_too, find_job
from sapflow.cli.cluster_options import add_cluster, cluster_named, connect
from sapflow.cli.output import print_json
from sapflow.client import cluster_job, cluster_search
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import NotInstalled
from sapflow.client.cluster_kinds import TUNING_JOBS
from sapflow.client.submission import describe_now, described
from sapflow.errors import DataError
from sapflow.spec.trial_names import TrialName, trial_named


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
    if (named := trial_named(given.job)) is not None:
        return _trial(given, cluster, job, named)
    if given.watch:
        return follow.follow(cluster, given, job, from_the_start=False)
    body = describe_now(cluster, job)
    if given.json:
        print_json(body)
    else:
        follow.print_job(body)
    return 0


def _trial(given: argparse.Namespace, cluster: Cluster, search: Object, named: TrialName) -> int:
    """Show a trial as its search shows it in the cluster."""
    if given.watch:
        raise DataError(f"--watch follows a whole search: name {named.search} alone")
    name, namespace = search["metadata"]["name"], search["metadata"]["namespace"]
    number = cluster_search.best(search) if named.number is None else named.number
    if number is None:
        raise DataError(f"no trial of {name} has a value yet: wait for one, or name a trial by its number")
    found = [each for each in cluster.trials(namespace, name) if each["spec"]["number"] == number]
    if not found:
        raise DataError(
            f"{name} shows no trial {number}: the cluster has objects of at most 300 trials, those at work, the best "
            f"and the last ones; `sapflow export {name}/trials/{number} --store URL` reads one from the store"
        )
    body = cluster_search.trial(search, found[0])
    if given.json:
        print_json(body)
        return 0
    print(f"{body['job']} in namespace {namespace}")
    lines = cluster_search.trial_lines(body)
    width = max(len(label) for label, _ in lines)
    for label, value in lines:
        print(f"  {label:<{width}}  {value}")
    return 0


def status_elsewhere(given: argparse.Namespace, environ: Mapping[str, str], unknown: DataError) -> int:
    """The status of a job that no local store knows. Raises `unknown` if the cluster does not know it either."""
    with asked_too(unknown):
        return status(given, environ)


def _list(given: argparse.Namespace, cluster: Cluster) -> int:
    place = None if given.all_namespaces else cluster.namespace
    found = [described(job) for job in cluster.jobs(place)]
    searches = []
    # A cluster with an earlier release has none.
    with contextlib.suppress(NotInstalled):
        searches = [described(each) for each in cluster.jobs(place, TUNING_JOBS)]
    if given.json:
        print_json({"jobs": [*found, *searches]})
        return 0
    tables = [(cluster_job.table, found), (cluster_search.table, searches)]
    texts = ["\n".join(table(rows, namespaces=given.all_namespaces)) for table, rows in tables if rows]
    print("\n\n".join(texts), end="\n" if texts else "")
    if not texts:
        print(f"no jobs in {'the cluster' if place is None else f'namespace {place}'} at {cluster.server}")
    return 0
