"""Binds the driver's ServiceAccount to its Role."""

from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted) -> dict[str, Any]:
    name = names.driver(wanted.pool)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata.build(wanted, name, names.DRIVER),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": wanted.namespace}],
    }
