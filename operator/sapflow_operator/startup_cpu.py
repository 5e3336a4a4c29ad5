"""The CPU that functions have while they start, where their limit follows strictly from their memory. Pure.

Such a pod is created with one CPU at least (see `Wanted.cpu_at_start`), as the public clouds start functions. Once it
is ready, its limit is lowered in place.
"""

from collections.abc import Mapping
from typing import Any

from sapflow.quantities.memory import parse_quantity
from sapflow.spec.types import parse_cpu
from sapflow_operator.actions import Action, LimitCpu
from sapflow_operator.observed import FUNCTION_CONTAINER, Observed
from sapflow_operator.resources import pod
from sapflow_operator.wanted import Wanted

Object = Mapping[str, Any]


def lowered(wanted: Wanted, observed: Observed) -> list[Action]:
    """The actions that lower the CPU limits of functions that are ready; none where a cluster cannot resize pods.

    A limit follows from the pod's own memory: pods of an older Revision have another than the job wants now.
    """
    if not (wanted.settings.resizes and wanted.cpu_by_memory):
        return []
    found: list[Action] = []
    for role in wanted.roles:
        for each in observed.pods_of(role) if wanted.cpus.get(role) is None else ():
            limits = _limits(each)
            if not {"cpu", "memory"} <= set(limits) or not _ready(each):
                continue
            strict = wanted.cpu_limit(role, parse_quantity(limits["memory"]))
            if round(1000 * parse_cpu(limits["cpu"])) > strict:
                found.append(LimitCpu(each["metadata"]["name"], pod.cores(strict)))
    return found


def _ready(each: Object) -> bool:
    """Whether the function in a pod takes calls. One that is being deleted has finished starting, and may keep it."""
    conditions = each.get("status", {}).get("conditions", ())
    return "deletionTimestamp" not in each["metadata"] and any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def _limits(each: Object) -> Mapping[str, str]:
    for container in each.get("spec", {}).get("containers", ()):
        if container["name"] == FUNCTION_CONTAINER:
            limits: Mapping[str, str] = container.get("resources", {}).get("limits", {})
            return limits
    return {}
