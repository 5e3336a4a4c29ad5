"""A node of the cluster that is drained under a job."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from helpers.kube import SYSTEM, kubectl, read

KNATIVE, GATEWAY = "knative-serving", "kourier-system"
_WORDS = (
    "--ignore-daemonsets",
    "--delete-emptydir-data",
    "--force",
    "--disable-eviction",
    "--grace-period=5",
    "--timeout=120s",
)


def nodes_of(namespace: str, selector: str) -> set[str]:
    """The nodes of a namespace's pods."""
    pods = read("pods", "-n", namespace, "-l", selector)["items"]
    return {str(pod["spec"].get("nodeName")) for pod in pods}


@contextmanager
def spare_node() -> Iterator[str]:
    """A node that can be drained: not the one with the object store's volume. Pods may go there again afterwards."""
    nodes = {each["metadata"]["name"] for each in read("nodes")["items"]}
    spare = sorted(nodes - nodes_of(SYSTEM, "app.kubernetes.io/component=minio"))
    if not spare:
        pytest.skip("the cluster has one node")
    try:
        yield spare[0]
    finally:
        kubectl("uncordon", spare[0])


def drain(node: str) -> None:
    """Move everything away from a node.

    Kourier's gateway keeps the routes of a controller that went with its node, for a quarter of an hour or longer: this
    cluster has one of each, so the gateway is started anew.
    """
    routed = node in nodes_of(KNATIVE, "app=net-kourier-controller")
    kubectl("drain", node, *_WORDS, seconds=150)
    if routed:
        kubectl("rollout", "status", "-n", KNATIVE, "deploy/net-kourier-controller", "--timeout=60s")
        kubectl("rollout", "restart", "-n", GATEWAY, "deploy/3scale-kourier-gateway")
        kubectl("rollout", "status", "-n", GATEWAY, "deploy/3scale-kourier-gateway", "--timeout=60s")
