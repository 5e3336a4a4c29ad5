"""The driver's rights in the cluster: to report and read the progress of its own job, and to see where its functions are if it
calls them straight."""

from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted

_SEE_INSTANCES = {
    "apiGroups": ["discovery.k8s.io"],
    "resources": ["endpointslices"],
    "verbs": ["list", "watch"],
}
"""RBAC cannot restrict a list to some labels. Slices hold addresses of pods and nothing secret."""


def build(wanted: Wanted) -> dict[str, Any]:
    report = {
        "apiGroups": [names.GROUP],
        "resources": [f"{wanted.resource.plural}/status"],
        "resourceNames": [wanted.name],
        "verbs": ["get", "patch"],
    }
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata.build(wanted, names.driver(wanted.pool), names.DRIVER),
        "rules": [report, _SEE_INSTANCES] if wanted.settings.direct_calls else [report],
    }
