"""What the pods of functions and driver share: the restricted standard, a pool's files, sizes."""

from math import ceil
from typing import Any

from sapflow.memory import MIB, parse_quantity
from sapflow.pricing import AWS_LAMBDA
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
"""On the node's disk, so that it is no part of the function's memory."""


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
        {"name": "pool", "secret": {"secretName": names.pool_secret(wanted.name)}},
    ]


def pull_secrets(settings: Settings) -> dict[str, Any]:
    """The pod's field for private registries, where there are any."""
    if not settings.image_pull_secrets:
        return {}
    return {"imagePullSecrets": [{"name": name} for name in settings.image_pull_secrets]}


def resources(memory: str, cpu: str | None) -> dict[str, Any]:
    """Memory is requested as limited; of the CPU limit (left out: by memory, as on public clouds) a tenth."""
    millis = millicores(cpu) if cpu else cpu_by_memory(memory)
    return {
        "limits": {"cpu": cores(millis), "memory": memory},
        "requests": {"cpu": cores(ceil(millis / 10)), "memory": memory},
    }


def millicores(cpu: str) -> int:
    """Thousandths of a CPU in a Kubernetes quantity such as 500m or 1.5."""
    return int(cpu[:-1]) if cpu.endswith("m") else round(float(cpu) * 1000)


def cpu_by_memory(memory: str) -> int:
    """Thousandths of a CPU that come with so much memory: 1 vCPU for each 1,769 MiB."""
    return ceil(parse_quantity(memory) / MIB / AWS_LAMBDA.mb_per_vcpu * 1000)


def cores(millis: int) -> str:
    """The quantity as the API server writes it, so that comparing finds no difference."""
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"
