"""The options that select a cluster and a namespace."""

import argparse
from collections.abc import Mapping

from sapflow.client import cluster
from sapflow.client.cluster import Cluster


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Add the options that select a cluster and a namespace."""
    parser.add_argument(
        "-n", "--namespace", metavar="NAME", help="the job's namespace (default: the context's)"
    )
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current)")
    parser.add_argument(
        "--kubeconfig",
        metavar="FILE",
        help="kubeconfig (default: KUBECONFIG, else ~/.kube/config, else the pod's)",
    )


def cluster_named(given: argparse.Namespace) -> bool:
    """Whether the command line names a cluster."""
    return any((given.namespace, given.context, given.kubeconfig))


def connect(given: argparse.Namespace, environ: Mapping[str, str]) -> Cluster:
    """The cluster that the command line and the kubeconfig name. No request is sent yet.

    Raises ClientMissing, NoCluster.
    """
    return cluster.connect(environ, namespace=given.namespace, context=given.context, config=given.kubeconfig)
