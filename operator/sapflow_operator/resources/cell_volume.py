"""The claim for a cell's volume, which is on the node of the cell's first pod."""

from typing import Any

from sapflow_operator import names
from sapflow_operator.resources import metadata
from sapflow_operator.wanted import Wanted


def build(wanted: Wanted, cell: int) -> dict[str, Any]:
    """A PersistentVolumeClaim; its StorageClass must have `WaitForFirstConsumer`."""
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
