"""Common parts of the pods of functions and driver: the restricted standard, the pool's files, sizes."""

from typing import Any

from sapflow.quantities.roles import Role
from sapflow_operator import names
from sapflow_operator.settings import Settings
from sapflow_operator.wanted import Wanted

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


def volumes(wanted: Wanted) -> list[dict[str, Any]]:
    return [
        {"name": "tmp", "emptyDir": {"sizeLimit": SCRATCH_SIZE}},
        {"name": "pool", "secret": {"secretName": names.pool_secret(wanted.pool)}},
    ]


def pull_secrets(settings: Settings) -> dict[str, Any]:
    """The pod's field with Secrets for private registries, if there are any."""
    if not settings.image_pull_secrets:
        return {}
    return {"imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets]}


def resources(wanted: Wanted, role: Role) -> dict[str, Any]:
    """Limits and requests of a function: it requests all of its memory and a tenth of its CPU."""
    memory = wanted.memory(role)
    return {
        "limits": {"cpu": _cores(wanted.cpu_limit(role)), "memory": memory},
        "requests": {"cpu": _cores(wanted.cpu_request(role)), "memory": memory},
    }


def _cores(millis: int) -> str:
    """The quantity in the API server's form, so that a comparison finds no difference."""
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"
