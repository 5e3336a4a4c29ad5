"""spec.affinity and spec.placement: the edges whose functions should run on one node, and the number of cells."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from sapflow.quantities.memory import parse_quantity
from sapflow.spec.types import Count, Memory, Model, ObjectName

MAX_CELLS = 64
REQUIRED = 100
"""The weight at which the pods of a cell must run on one node; with a smaller weight they prefer to."""
CELL_SIZE = "1Gi"
"""The default size of a cell's volume."""


class AffinitySpec(Model):
    """How much it matters that the two ends of an edge run on one node."""

    child: Literal["Worker", "Merger"] = Field(alias="from", description="Who writes the contribution.")
    parent: Literal["Merger", "Root"] = Field(alias="to", description="Who sums it.")
    weight: Annotated[int, Field(ge=1, le=REQUIRED)] = Field(
        description="Of such edges, the heaviest are kept inside a cell first; 100: its pods must run on one node."
    )


class PlacementSpec(Model):
    """The cells into which the functions of a job with affinity are packed, each on a node of its own."""

    cells: Annotated[int, Field(ge=1, le=MAX_CELLS)] | None = Field(
        None, description="Number of cells; left out: one a schedulable node, and one in a local run."
    )
    workers_per_cell: Count | None = Field(
        None, description="Workers that a cell may hold; left out: an even share, rounded up."
    )
    memory_per_cell: Memory | None = Field(
        None,
        description="Memory that the functions of a cell may have together; left out: what a node offers, "
        "and no limit in a local run.",
    )
    storage_class_name: ObjectName | None = Field(
        None,
        description="In a cluster: the StorageClass of the cells' volumes, on disks or in the memory of nodes, which "
        "waits for the first consumer; left out: the cluster's default.",
    )
    size: Memory | None = Field(
        None, description=f"In a cluster: size of a cell's volume; left out: {CELL_SIZE}."
    )

    @field_validator("memory_per_cell", "size", mode="before")
    @classmethod
    def _quantity(cls, value: object) -> object:
        if isinstance(value, str):
            parse_quantity(value)
        return value
