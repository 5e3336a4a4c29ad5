"""Who may call a job's functions and driver, and whom the functions may call.

Policies are checked after a Service's address and port have been replaced by those of one of its pods, so everything
here is about pods and their ports.
"""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.settings import StoreNetwork
from sapflow_operator.wanted import Owned, Wanted

CALL_PORTS = (8012, 8112)
"""The ports of Knative's queue-proxy, by HTTP and HTTPS, before every function."""
_NAMESPACE = "kubernetes.io/metadata.name"
_SERVICE = re.compile(r"^[a-z0-9-]+(?:\.(?P<namespace>[a-z0-9-]+))?(?P<full>\.svc(?:\.[a-z0-9.-]+)?)?$")
"""The name of a Service inside a cluster. With two parts it may be a name of the outside, too."""


def build(wanted: Wanted) -> dict[str, Any]:
    """The functions' policy: in from Knative, and from the driver where calls arrive; out to DNS and the store."""
    callers = (wanted.settings.knative_namespace, *wanted.settings.gateway_namespaces)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata.build(wanted, names.functions_policy(wanted.pool)),
        "spec": {
            "podSelector": {
                "matchLabels": wanted.selector,
                "matchExpressions": [
                    {"key": names.ROLE_LABEL, "operator": "In", "values": list(wanted.roles)}
                ],
            },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [namespaces(callers)]},
                {
                    "from": [{"podSelector": {"matchLabels": wanted.labels(names.DRIVER)}}],
                    "ports": tcp(CALL_PORTS),
                },
            ],
            "egress": [
                {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
                *to_store(wanted),
            ],
        },
    }


def build_drivers(wanted: Wanted) -> dict[str, Any]:
    """The driver's policy: it is asked for its metrics, and for nothing else."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata.build(wanted, names.driver(wanted.pool), names.DRIVER),
        "spec": {
            "podSelector": {"matchLabels": wanted.selector | {names.ROLE_LABEL: names.DRIVER}},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": tcp([names.DRIVER_METRICS_PORT])}],
        },
    }


def to_store(wanted: Owned) -> list[dict[str, Any]]:
    """The rules for calls to the store: those of the operator's settings, else what its address tells."""
    endpoint = wanted.place.endpoint
    store = urlsplit(endpoint)
    port = store.port or (443 if store.scheme == "https" else 80)
    for network in wanted.settings.store_networks:
        if network.endpoint.rstrip("/") == endpoint.rstrip("/"):
            return [_to(network, port)]
    host = store.hostname or ""
    if (cidr := _cidr(host)) is not None:
        return [{"to": [{"ipBlock": {"cidr": cidr}}], "ports": tcp([port])}]
    service = _SERVICE.match(host)
    found: list[dict[str, Any]] = []
    if service is not None:
        # Which of its pods, and at which port, only the Service knows.
        found.append({"to": [namespaces([service["namespace"] or wanted.namespace])]})
    if service is None or (service["namespace"] and not service["full"]):
        found.append({"ports": tcp([port])})
    return found


def _to(network: StoreNetwork, port: int) -> dict[str, Any]:
    """The rule for a store whose place the settings describe."""
    peers: list[dict[str, Any]] = [{"ipBlock": {"cidr": cidr}} for cidr in network.cidrs]
    if network.namespace_labels or network.pod_labels:
        peer: dict[str, Any] = {"namespaceSelector": _selector(network.namespace_labels)}
        if network.pod_labels:
            peer["podSelector"] = _selector(network.pod_labels)
        peers.append(peer)
    rule: dict[str, Any] = {"ports": tcp(network.ports or (port,))}
    return {"to": peers} | rule if peers else rule


def _selector(labels: dict[str, str]) -> dict[str, Any]:
    """A label selector; without labels it selects everything."""
    return {"matchLabels": labels} if labels else {}


def namespaces(named: Iterable[str]) -> dict[str, Any]:
    """All pods of these namespaces."""
    expression = {"key": _NAMESPACE, "operator": "In", "values": list(named)}
    return {"namespaceSelector": {"matchExpressions": [expression]}}


def tcp(ports: Iterable[int]) -> list[dict[str, Any]]:
    return [{"port": port, "protocol": "TCP"} for port in ports]


def _cidr(host: str) -> str | None:
    """The range of a single address; None for a name."""
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return f"{address}/{address.max_prefixlen}"
