"""A job in its store, on this machine or of a cluster, which a command reads: its arguments and its session."""

import argparse
from collections.abc import Mapping

from sapflow.cli.cluster_find import asked_too, find_job
from sapflow.cli.cluster_options import add_cluster, cluster_named
from sapflow.cli.jobs import add_store, file_named, session_of
from sapflow.client import cluster_store, versions
from sapflow.client.kubeconfig import has_cluster
from sapflow.client.session import Session
from sapflow.errors import DataError
from sapflow.spec.trial_names import trial_named

OF_A_CLUSTER = """\
  sapflow {command} digits -n team --store 's3://sapflow?endpoint=http://localhost:9000'
      a job of a cluster; its store must be reachable (kubectl port-forward), with credentials in the environment"""
"""An example for a command's help."""


def add_stored_job(parser: argparse.ArgumentParser, version: str) -> None:
    """Add the job and the options that say where it is; `version` says what a version after it means."""
    parser.add_argument(
        "job",
        metavar="JOB[@VERSION]",
        help="the job's YAML, its name in the store or in the cluster, or its folder in the store; for a trial of a "
        f"search JOB is SEARCH/trials/7, or SEARCH/trials/best; {version}",
    )
    add_store(parser)
    add_cluster(parser)


def stored_job(given: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Session, str, int | None]:
    """The session of `given.job`, a job or a trial, found by its name in the store, or else by its uid in a cluster;
    what it was called by, and the version that was named with it.

    Raises DataError, StoreError, and errors of clusters.
    """
    name, version = versions.split(given.job)
    named = argparse.Namespace(**{**vars(given), "job": name})
    return _session(named, environ), name, version


def _session(given: argparse.Namespace, environ: Mapping[str, str]) -> Session:
    named = trial_named(given.job)
    if cluster_named(given):
        return cluster_store.session_of(find_job(given, environ)[1], given.store, environ, named)
    try:
        return session_of(given.job, given.store, environ)
    except DataError as unknown:
        if file_named(given.job) is not None or not has_cluster(environ):
            raise
        with asked_too(unknown):
            _, job = find_job(given, environ)
        return cluster_store.session_of(job, given.store, environ, named)
