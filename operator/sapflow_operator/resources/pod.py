"""Common parts of the pods of functions and driver: the restricted standard, the pool's files, sizes."""

from collections.abc import Mapping
from typing import Any

from sapflow.quantities.roles import Role
from sapflow_operator import names
from sapflow_operator.wanted import Owned, Wanted

SECURITY = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
SCRATCH_SIZE = "1Gi"
"""The size of /tmp, on the node's disk, so that it does not count as the function's memory."""


def environment(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": values[name]} for name in sorted(values)]


def mounts() -> list[dict[str, Any]]:
    return [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "pool", "mountPath": names.POOL_FOLDER, "readOnly": True},
    ]


def volumes(wanted: Owned) -> list[dict[str, Any]]:
    return [
        {"name": "tmp", "emptyDir": {"sizeLimit": SCRATCH_SIZE}},
        {"name": "pool", "secret": {"secretName": names.pool_secret(wanted.pool)}},
    ]


def metadata(wanted: Owned, labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
    """The metadata of a pod's template: the user's labels and annotations, and ours, which the spec may not name."""
    own = wanted.pods
    return {
        "labels": {**(own.labels or {}), **labels},
        "annotations": {**(own.annotations or {}), **annotations},
    }


def chosen(wanted: Owned) -> dict[str, Any]:
    """Fields of the pod's spec that a user or the chart chooses: nodes, priority, and Secrets for registries."""
    own = wanted.pods.model_dump(
        mode="json",
        by_alias=True,
        exclude_none=True,
        include={"node_selector", "tolerations", "priority_class_name"},
    )
    secrets = [
        *wanted.settings.image_pull_secrets,
        *(each.name for each in wanted.pods.image_pull_secrets or ()),
    ]
    if secrets:
        own["imagePullSecrets"] = [{"name": name} for name in dict.fromkeys(secrets)]
    return own


def own_environment(wanted: Owned) -> list[dict[str, Any]]:
    """The user's environment variables; their names are none of ours."""
    return [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in wanted.pods.env or ()]


def resources(wanted: Wanted, role: Role) -> dict[str, Any]:
    """Limits and requests of a function at its start: it requests all of its memory, and a tenth of the CPU that it
    names or that comes with its memory."""
    memory = wanted.memory(role)
    return {
        "limits": {"cpu": cores(wanted.cpu_at_start(role)), "memory": memory},
        "requests": {"cpu": cores(wanted.cpu_request(role)), "memory": memory},
    }


def cores(millis: int) -> str:
    """The quantity in the API server's form, so that a comparison finds no difference."""
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"
