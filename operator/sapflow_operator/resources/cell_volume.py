"""The claim to the volume of a cell: of a node's own, bound where the cell's first pod goes."""

from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted, cell: int) -> dict[str, Any]:
    """A PersistentVolumeClaim, whose StorageClass must wait for the first consumer."""
    size, storage_class = wanted.cell_storage()
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata.build(wanted, names.cell_volume(wanted.pool, cell), cell=cell),
        "spec": spec,
    }
