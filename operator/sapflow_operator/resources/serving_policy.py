"""The NetworkPolicy of a ModelService's pods: who may ask them, and whom they may ask."""

from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.resources.network_policy import namespaces, tcp, to_store
from sapflow_operator.service_wanted import ServiceWanted


def build(wanted: ServiceWanted) -> dict[str, Any]:
    """In from Knative and its gateways, and for metrics from the operator and Prometheus; out to DNS and the store, and
    where versions are compared, to the gateways."""
    settings = wanted.settings
    knative = namespaces((settings.knative_namespace, *settings.gateway_namespaces))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata.build(wanted, names.server_policy(wanted.pool), names.SERVER),
        "spec": {
            "podSelector": {"matchLabels": wanted.selector | {names.ROLE_LABEL: names.SERVER}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [knative]},
                {"from": [namespaces(settings.metrics_namespaces)], "ports": tcp([wanted.http_port])},
            ],
            "egress": [
                {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
                *to_store(wanted),
                *([{"to": [knative]}] if wanted.compares else []),
            ],
        },
    }
