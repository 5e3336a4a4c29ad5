"""The Knative Service for the functions of a role, for a placed job those in one cell."""

from math import ceil
from typing import Any

from sapflow.quantities.roles import Role
from sapflow_operator import names
from sapflow_operator.knative_times import ANSWER_SECONDS, START_SECONDS
from sapflow_operator.resources import cell_pod, metadata, pod
from sapflow_operator.wanted import Group, Wanted

_SCALING = "autoscaling.knative.dev"
BURST_PERCENT = 25
"""The share of an instance's time that calls of bursts are aimed to take. So all instances stay where workers are at
work for a quarter of a step."""


def build(wanted: Wanted, group: Group) -> dict[str, Any]:
    """A Service with one call per instance, which scales from zero to as many instances as a step can use."""
    role, cell = group.role, group.cell
    # The function enforces the job's time limit itself, because Knative also counts the start of an instance.
    limit = max(ceil(wanted.invocation_seconds), START_SECONDS)
    timeout = min(limit + ANSWER_SECONDS, wanted.settings.max_invocation_seconds)
    template: dict[str, Any] = {
        "containerConcurrency": 1,
        "timeoutSeconds": timeout,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [_container(wanted, role, cell)],
        "volumes": pod.volumes(wanted),
        **pod.chosen(wanted),
    }
    if cell is not None:
        template |= cell_pod.fields(wanted, role, cell)
        template["volumes"].append(cell_pod.volume(wanted, cell))
    if timeout > START_SECONDS:
        template["responseStartTimeoutSeconds"] = timeout
    own = metadata.build(wanted, names.function(wanted.pool, role, cell), role, cell=cell)
    own["labels"] = own["labels"] | {"networking.knative.dev/visibility": "cluster-local"}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": own,
        "spec": {
            "template": {
                "metadata": pod.metadata(
                    wanted,
                    wanted.labels(role, cell),
                    _scaling(group, wanted.settings.window_seconds),
                ),
                "spec": template,
            }
        },
    }


def _scaling(group: Group, window_seconds: int) -> dict[str, str]:
    """Annotations for scaling. With a burst capacity of -1 every call goes through the activator, which alone knows
    which instance is free.

    The number of instances follows the mean of the calls at work, divided by the share of their time that they are to
    take. Calls that come all at once need an instance each, though on the mean fewer are at work. For all others, the
    default of 70 % would start a third more instances than calls.
    """
    return {
        f"{_SCALING}/initial-scale": "0",
        f"{_SCALING}/min-scale": "0",
        f"{_SCALING}/max-scale": str(group.instances),
        f"{_SCALING}/target-utilization-percentage": str(BURST_PERCENT if group.in_bursts else 100),
        f"{_SCALING}/target-burst-capacity": "-1",
        f"{_SCALING}/window": f"{window_seconds}s",
    }


def _container(wanted: Wanted, role: Role, cell: int | None) -> dict[str, Any]:
    image, threads = wanted.image(role), str(wanted.threads)
    container: dict[str, Any] = {
        "image": image.name,
        "imagePullPolicy": image.pull_policy,
        "env": pod.environment(
            names.pool_environment(wanted.place.url)
            | {"PYTHONHASHSEED": "0"}
            | wanted.environment(role)
            | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        ),
        "ports": [{"containerPort": names.FUNCTION_PORT}],
        "resources": pod.resources(wanted, role),
        "securityContext": pod.CONTAINER_SECURITY,
        "volumeMounts": pod.mounts(),
    }
    if cell is not None:
        container["env"] += cell_pod.environment(cell)
        container["volumeMounts"].append(cell_pod.mount())
    container["env"] += pod.own_environment(wanted)
    if command := wanted.command(role):
        container["command"] = command
    return container
