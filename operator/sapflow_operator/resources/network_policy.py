"""Who may call a job's functions, and whom they may call."""

from typing import Any
from urllib.parse import urlsplit

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted

CALLERS = ("knative-serving", "kourier-system")
"""Namespaces of Knative's activator and autoscaler, and of its gateway."""


def build(wanted: Wanted) -> dict[str, Any]:
    """Allows traffic in from the driver through Knative, and out to DNS and the store."""
    store = urlsplit(wanted.place.endpoint)
    port = store.port or (443 if store.scheme == "https" else 80)
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
                {
                    "from": [
                        {
                            "namespaceSelector": {
                                "matchExpressions": [
                                    {
                                        "key": "kubernetes.io/metadata.name",
                                        "operator": "In",
                                        "values": list(CALLERS),
                                    }
                                ]
                            }
                        },
                        {"podSelector": {"matchLabels": wanted.labels(names.DRIVER)}},
                    ]
                }
            ],
            "egress": [
                {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]},
                {"ports": [{"port": port, "protocol": "TCP"}]},
            ],
        },
    }
