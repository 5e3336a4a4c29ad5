"""The metadata that every child has."""

from collections.abc import Mapping
from typing import Any

from sapflow_operator import names
from sapflow_operator.wanted import Owned


def build(
    wanted: Owned,
    name: str,
    role: str | None = None,
    annotations: Mapping[str, str] | None = None,
    *,
    cell: int | None = None,
) -> dict[str, Any]:
    """Name, labels and owner of a child; it is deleted with its owner."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": wanted.namespace,
        "labels": wanted.labels(role, cell),
        "ownerReferences": [names.owner(wanted.resource, wanted.name, wanted.uid)],
    }
    return metadata | {"annotations": dict(annotations)} if annotations else metadata
