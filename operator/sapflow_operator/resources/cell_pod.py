"""Additional fields of a function's pod in a placed job: its cell's volume, and affinity to the cell's pods."""

from typing import Any

from sapflow.quantities.roles import Role
from sapflow.spec.placement import REQUIRED
from sapflow_operator import names
from sapflow_operator.resources import pod
from sapflow_operator.wanted import Wanted

GROUP = 65532
"""The functions' group, which owns a cell's volume."""
_NODE = "kubernetes.io/hostname"
_APART = 100
"""The weight of staying apart from other cells; it is only a preference, because nodes may become fewer."""


def fields(wanted: Wanted, role: Role, cell: int) -> dict[str, Any]:
    """Fields of the pod's spec, without volumes and containers."""
    return {
        "securityContext": pod.SECURITY | {"fsGroup": GROUP},
        "affinity": {
            "podAffinity": _beside(wanted, cell, wanted.weight(role)),
            "podAntiAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": _APART, "podAffinityTerm": _others(wanted, cell)}
                ]
            },
        },
    }


def volume(wanted: Wanted, cell: int) -> dict[str, Any]:
    return {"name": "cell", "persistentVolumeClaim": {"claimName": names.cell_volume(wanted.pool, cell)}}


def mount() -> dict[str, Any]:
    return {"name": "cell", "mountPath": names.CELL_FOLDER}


def environment(cell: int) -> list[dict[str, Any]]:
    node = {"name": "SAPFLOW_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
    return [*pod.environment(names.cell_environment(cell)), node]


def _beside(wanted: Wanted, cell: int, weight: int) -> dict[str, Any]:
    """Affinity to the cell's other pods. The first pod matches the term itself, so it may run anywhere."""
    labels = wanted.selector | {names.CELL_LABEL: str(cell)}
    term = {"topologyKey": _NODE, "labelSelector": {"matchLabels": labels}}
    if weight >= REQUIRED:
        return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, "podAffinityTerm": term}]}


def _others(wanted: Wanted, cell: int) -> dict[str, Any]:
    """A selector for the job's pods in other cells."""
    return {
        "topologyKey": _NODE,
        "labelSelector": {
            "matchLabels": wanted.selector,
            "matchExpressions": [
                {"key": names.CELL_LABEL, "operator": "Exists"},
                {"key": names.CELL_LABEL, "operator": "NotIn", "values": [str(cell)]},
            ],
        },
    }
