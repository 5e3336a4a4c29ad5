"""The driver's rights in the cluster: to report and read the progress of its job, and what its kind needs beside."""

from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted) -> dict[str, Any]:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata.build(wanted, names.driver(wanted.pool), names.DRIVER),
        "rules": [
            {
                "apiGroups": [names.GROUP],
                "resources": [f"{wanted.resource.plural}/status"],
                "resourceNames": [wanted.name],
                "verbs": ["get", "patch"],
            },
            *map(dict, wanted.rights),
        ],
    }
