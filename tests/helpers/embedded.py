"""A whole job in one container of the worker's image, by the embedded runtime: beside it, a cluster's job is judged."""

import json
from collections.abc import Mapping
from typing import Any

from helpers.kube import changed, kubectl, read, wait_until
from sapflow.spec.training_job import CLUSTER_ONLY

_NAME = "embedded"
_SECURE = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def embedded_pod(
    namespace: str, image: str, document: Mapping[str, Any], then: str = "true", seconds: float = 600
) -> str:
    """Run the job; what it, and the shell command `then` after it, have printed. Fails the test where it fails."""
    run = "python3 -m sapflow run /tmp/job.json --store /tmp/store --json 2>/dev/null"
    container = {
        "name": "run",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", f'printf %s "$JOB" > /tmp/job.json && {run} && {then}'],
        "env": [{"name": "JOB", "value": json.dumps(_local(document))}],
        "resources": {"limits": {"memory": "3Gi"}, "requests": {"memory": "2Gi"}},
        "securityContext": _SECURE,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _NAME}, "spec": spec}
    kubectl("apply", "-n", namespace, "-f", "-", text=json.dumps(pod))

    def ended() -> str:
        phase = str(read("pod", "-n", namespace, _NAME).get("status", {}).get("phase"))
        return phase if phase in ("Succeeded", "Failed") else ""

    phase = wait_until(ended, "the end of the embedded run", seconds)
    out = kubectl("logs", "-n", namespace, _NAME)
    assert phase == "Succeeded", out
    return out


def _local(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without what a cluster alone has a say in, and the embedded runtime refuses."""
    changes = {path.removeprefix("spec.").replace(".", "__"): None for path in CLUSTER_ONLY}
    return changed(document, **changes)
