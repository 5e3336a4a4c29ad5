"""The claim to the volume of a cell: of a node's own, bound where the cell's first pod goes."""

from typing import Any

from sapflow.spec.placement import CELL_SIZE
from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted, cell: int) -> dict[str, Any]:
    """A PersistentVolumeClaim, whose StorageClass must wait for the first consumer."""
    asked = wanted.job.spec.placement
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": (asked and asked.size) or CELL_SIZE}},
    }
    if asked is not None and asked.storage_class_name is not None:
        spec["storageClassName"] = asked.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata.build(wanted, names.cell_volume(wanted.name, cell), cell=cell),
        "spec": spec,
    }
