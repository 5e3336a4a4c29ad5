"""The pool of a TrainingJob, from which its children follow: workers, mergers, and a driver."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sapflow.objects import keys
from sapflow.planning.placement import Placement
from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.roles import TRAINING_ROLES, Role
from sapflow.spec.placement import CELL_SIZE
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.training_job import Metadata, StorageSpec
from sapflow_operator import names
from sapflow_operator.kinds.job_pool import JobPool
from sapflow_operator.origin import granted, prefix_of
from sapflow_operator.wanted import Group, stored


@dataclass(frozen=True)
class TrainingPool(JobPool):
    """A TrainingJob's functions and driver."""

    begins_with: Mapping[str, Any] | None = None
    """Of a fork: `status.origin`, the uid of the other job or of the trial's search, and the objects there that it
    reads."""
    packed: Placement | None = None
    """The packing of functions into cells, once it is decided; None if they may run anywhere."""

    resource: ClassVar = names.TRAINING_JOB
    driver_module: ClassVar[str] = "sapflow_operator.driver_pod.driver"

    @property
    def placed(self) -> Placement | None:
        return self.packed

    @property
    def groups(self) -> list[Group]:
        """The Knative Services, each with the number of instances that a step can use."""
        found: list[tuple[Role, int | None, int]] = []
        if self.packed is not None:
            for cell in range(self.packed.count):
                found += [(role, cell, count) for role, count in self.packed.instances(cell).items() if count]
        # Preparers are in no cell: they have come to their end when placement begins to matter.
        anywhere = [role for role in self.roles if self.packed is None or role not in TRAINING_ROLES]
        found += [(role, None, self.job.instances[role]) for role in anywhere]
        return [Group(role, cell, count, in_bursts=role == "worker") for role, cell, count in found]

    @property
    def resolved(self) -> ResolvedJob:
        """The job as driver and functions read it from its store, named by its uid."""
        spec = self.job.spec
        # How its model is served may change at any time, which is nothing to its driver.
        update: dict[str, Any] = {"storage": StorageSpec.model_validate(stored(self.place)), "serve": None}
        if self.search is not None:
            start = format_quantity(self.search.start * MIB)
            update["memory"] = spec.memory.model_copy(update={"worker": start})
        metadata = Metadata.model_validate({"name": self.name, "namespace": self.namespace, "uid": self.uid})
        job = self.job.model_copy(update={"metadata": metadata, "spec": spec.model_copy(update=update)})
        parent = None
        if self.begins_with is not None:
            prefix = prefix_of(str(self.begins_with["uid"]), self.begins_with.get("trial"))
            parent = keys.uid_of(prefix)
        return ResolvedJob(job, keys.job(self.uid), "kubernetes", self.search, parent, area=self.shared)

    @property
    def origin(self) -> list[str]:
        return granted(self.begins_with)

    @property
    def told(self) -> dict[str, Any]:
        return self.resolved.to_json()

    @property
    def documents(self) -> dict[str, str]:
        """The resolved job and its packing into cells."""
        found = {names.JOB_KEY: json.dumps(self.told, sort_keys=True, indent=1)}
        if self.packed is not None:
            found[names.PLACEMENT_KEY] = json.dumps(self.packed.to_json(), separators=(",", ":"))
        return found

    def environment(self, role: Role) -> dict[str, str]:
        if self.search is None:
            return {}
        return {"SAPFLOW_MEMORY_BYTES": str(parse_quantity(self.memory(role)))}

    def weight(self, role: Role) -> int:
        """The weight of the heaviest edge of such a function."""
        edges = self.job.spec.affinity or ()
        mine = (each.weight for each in edges if role == "merger" or each.child == "Worker")
        return max(mine, default=1)

    def cell_storage(self) -> tuple[str, str | None]:
        asked = self.job.spec.placement
        return (asked and asked.size) or CELL_SIZE, asked.storage_class_name if asked else None
