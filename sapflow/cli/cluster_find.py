"""Finds the job or the search that a command line names in a cluster."""

import argparse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sapflow.cli.cluster_options import connect
from sapflow.cli.jobs import is_file
from sapflow.cli.submit import read_document
from sapflow.client.cluster import Cluster, Object
from sapflow.client.cluster_errors import JobUnknown
from sapflow.client.cluster_kinds import TUNING_JOBS, kind_of
from sapflow.client.submission import namespace_of
from sapflow.errors import DataError, SapflowError
from sapflow.spec.trial_names import trial_named


def find_job(given: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Cluster, Object]:
    """The job or search of `given.job`, a name or a file, and its cluster; of a trial's name, its search. Raises
    SapflowError."""
    named = trial_named(given.job)
    name = given.job if named is None else named.search
    document: Mapping[str, Any] | None = read_document(name) if is_file(name) else None
    cluster = connect(given, environ)
    kind = TUNING_JOBS if named is not None else None
    if document is None:
        return cluster, cluster.find(cluster.namespace, name, kind)
    namespace = namespace_of(document, given.namespace, cluster)
    return cluster, cluster.find(namespace, document["metadata"]["name"], kind or kind_of(document))


@contextmanager
def asked_too(unknown: DataError) -> Iterator[None]:
    """A context in which a cluster is asked for a job that no local store knows.

    Raises `unknown` if the cluster does not know it either.
    """
    try:
        yield
    except JobUnknown as error:
        raise DataError(f"{unknown}; {error}") from error
    except SapflowError as error:
        unknown.add_note(f"(the cluster was asked too: {error})")
        raise unknown from error
