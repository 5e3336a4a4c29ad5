"""The options that say which cluster a command speaks of, and where in it."""

import argparse
from collections.abc import Mapping

from sapflow.client import cluster
from sapflow.client.cluster import Cluster


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """The options that say which cluster and where in it."""
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
    """Whether the command line speaks of a cluster."""
    return any((given.namespace, given.context, given.kubeconfig))


def connect(given: argparse.Namespace, environ: Mapping[str, str]) -> Cluster:
    """The cluster that the command line and the kubeconfig name; nothing is asked of it yet.

    Raises ClientMissing, NoCluster.
    """
    return cluster.connect(environ, namespace=given.namespace, context=given.context, config=given.kubeconfig)
