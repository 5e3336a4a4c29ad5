"""The cells of a placed job: their number, packing and nodes, and which of them are lost. Pure."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sapflow.errors import SpecError
from sapflow.planning.placement import Placement
from sapflow.quantities.memory import format_quantity
from sapflow.spec.placement import MAX_CELLS, PlacementSpec
from sapflow.spec.training_job import TrainingJob
from sapflow_operator import names
from sapflow_operator.actions import Action, Delete
from sapflow_operator.nodes import Inventory, Node

Object = Mapping[str, Any]


def decide(job: TrainingJob, inventory: Inventory) -> dict[str, Any]:
    """`status.placement` for a job that starts: one cell per node, each as large as the smallest node.

    Raises SpecError if nodes are not known.
    """
    asked = job.spec.placement or PlacementSpec()
    usable = [node for node in inventory.nodes or () if node.schedulable and node.memory]
    cells = asked.cells
    if cells is None and inventory.nodes is None:
        message = (
            "is required here: the operator may not count the nodes; name it, or set rbac.nodes in its chart"
        )
        raise SpecError([("spec.placement.cells", message)])
    found: dict[str, Any] = {"cells": cells or max(1, min(len(usable), job.spec.workers, MAX_CELLS))}
    if asked.memory_per_cell is not None:
        found["memoryPerCell"] = asked.memory_per_cell
    elif usable:
        found["memoryPerCell"] = format_quantity(min(node.memory for node in usable))
    return found


def decided(job: TrainingJob, status: Mapping[str, Any]) -> TrainingJob:
    """The job with the cells that its status names."""
    asked = job.spec.placement or PlacementSpec()
    update = {"cells": status["cells"], "memory_per_cell": status.get("memoryPerCell")}
    changed = asked.model_copy(update=update)
    return job.model_copy(update={"spec": job.spec.model_copy(update={"placement": changed})})


def standing(config_map: Object | None) -> Placement | None:
    """The packing that a job was started with, which must not change afterwards."""
    text = (config_map or {}).get("data", {}).get(names.PLACEMENT_KEY)
    try:
        return None if text is None else Placement.read(json.loads(text))
    except (ValueError, KeyError, TypeError):
        # Somebody has changed it; the packing is decided again, with the same result.
        return None


def whereabouts(pods: Iterable[Object]) -> dict[int, str]:
    """The node of each cell that has a pod on one."""
    found: dict[int, str] = {}
    for pod in pods:
        cell = names.cell_of(pod["metadata"].get("labels", {}))
        node = pod.get("spec", {}).get("nodeName")
        if cell is not None and node and not _ended(pod):
            found[cell] = node
    return found


def lost(claim: Object, pods: Sequence[Object], inventory: Inventory) -> str:
    """Why a cell's volume cannot be reached any more; '' if it can be reached or this is not known.

    The reasons are that its node is gone or does not answer, or is cordoned while a pod waits for it.
    """
    volume = claim.get("spec", {}).get("volumeName")
    if not volume or inventory.nodes is None:
        return ""
    if claim.get("status", {}).get("phase") == "Lost":
        return f"volume {volume} is gone"
    if volume not in inventory.volumes:
        return ""
    homes = [node for node in inventory.nodes if _reachable_from(inventory.volumes[volume], node)]
    if not homes:
        return f"the node of volume {volume} is gone"
    if not any(node.ready for node in homes):
        return f"node {homes[0].name} is not ready"
    if all(node.cordoned for node in homes if node.ready) and any(map(_waits, pods)):
        return f"node {homes[0].name} is cordoned"
    return ""


def abandon(claim: Object, pods: Sequence[Object], inventory: Inventory) -> list[Action]:
    """The actions that remove a lost cell, so that it is created again elsewhere."""
    removal = Delete("PersistentVolumeClaim", claim["metadata"]["name"], uid=claim["metadata"].get("uid"))
    return [removal, *release(pods, inventory)]


def release(pods: Sequence[Object], inventory: Inventory) -> list[Action]:
    """The actions that end the pods with a claim that is to be removed, even if their node does not answer."""
    ready = {node.name for node in inventory.nodes or () if node.ready}
    found: list[Action] = []
    for pod in pods:
        node = pod.get("spec", {}).get("nodeName")
        if node is None or _ended(pod):
            continue
        name, uid = pod["metadata"]["name"], pod["metadata"].get("uid")
        if node not in ready:
            found.append(Delete("Pod", name, at_once=True, uid=uid))
        elif "deletionTimestamp" not in pod["metadata"]:
            found.append(Delete("Pod", name, uid=uid))
    return found


def _reachable_from(volume: Object, node: Node) -> bool:
    required = volume.get("spec", {}).get("nodeAffinity", {}).get("required")
    if required is None:
        return True
    return any(
        all(_matches(each, node) for each in term.get("matchExpressions", ()))
        for term in required.get("nodeSelectorTerms", ())
    )


def _matches(expression: Object, node: Node) -> bool:
    value, values = node.labels.get(expression["key"]), expression.get("values", ())
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            # The operators Gt and Lt compare numbers, which no volume's node affinity does.
            return True


def _waits(pod: Object) -> bool:
    return any(
        each["type"] == "PodScheduled" and each.get("reason") == "Unschedulable"
        for each in pod.get("status", {}).get("conditions", ())
    )


def _ended(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
