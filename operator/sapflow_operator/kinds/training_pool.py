"""The pool of a TrainingJob, from which its children follow: workers, mergers, and a driver."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from sapflow.errors import SpecError
from sapflow.objects import keys
from sapflow.planning.placement import Placement
from sapflow.quantities.memory import MIB, format_quantity, parse_quantity
from sapflow.quantities.roles import TRAINING_ROLES, Role
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.placement import CELL_SIZE
from sapflow.spec.pods import PodsSpec
from sapflow.spec.resolved import ResolvedJob
from sapflow.spec.sources import s3_location
from sapflow.spec.training_job import Metadata, StorageSpec, TrainingJob
from sapflow_operator import names
from sapflow_operator.nodes import Demand, Inventory
from sapflow_operator.resources.driver_job import DRIVER_MILLIS
from sapflow_operator.settings import Image
from sapflow_operator.wanted import Group, Wanted, stored

SIDECAR_MILLIS = 25
"""CPU request of Knative's queue-proxy in each function's pod (`queue-sidecar-cpu-request`), in thousandths."""


@dataclass(frozen=True)
class TrainingPool(Wanted):
    """A TrainingJob's functions and driver."""

    job: TrainingJob
    """The current spec; memory sizes may have grown since it was written."""
    search: SearchSettings | None = None
    """The search for the workers' best size. Then `job` has the current size, while driver and functions read the first
    size, so that a change does not restart the driver."""
    begins_with: Mapping[str, Any] | None = None
    """Of a fork: `status.origin`, the other job's uid and the objects there that it reads."""
    packed: Placement | None = None
    """The packing of functions into cells, once it is decided; None if they may run anywhere."""
    shared: str | None = None
    """The shared area that has the job's data, once that is decided."""

    resource: ClassVar = names.TRAINING_JOB
    roles: ClassVar[tuple[Role, ...]] = TRAINING_ROLES
    driver_module: ClassVar[str] = "sapflow_operator.driver_pod.driver"

    @property
    def area(self) -> str | None:
        return self.shared

    @property
    def data_job(self) -> TrainingJob:
        return self.job

    @property
    def without_user_code(self) -> bool:
        model = self.job.spec.model
        return not (model.code or model.image or model.env or self.pods.env)

    @property
    def placed(self) -> Placement | None:
        return self.packed

    @property
    def groups(self) -> list[Group]:
        """The Knative Services, each with the number of instances that a step can use."""
        if self.packed is None:
            return [Group(role, None, self.job.instances[role]) for role in self.roles]
        return [
            Group(role, cell, count)
            for cell in range(self.packed.count)
            for role, count in self.packed.instances(cell).items()
            if count
        ]

    @property
    def resolved(self) -> ResolvedJob:
        """The job as driver and functions read it from its store, named by its uid."""
        spec = self.job.spec
        update: dict[str, Any] = {"storage": StorageSpec.model_validate(stored(self.place))}
        if self.search is not None:
            start = format_quantity(self.search.start * MIB)
            update["memory"] = spec.memory.model_copy(update={"worker": start})
        metadata = Metadata.model_validate({"name": self.name, "namespace": self.namespace, "uid": self.uid})
        job = self.job.model_copy(update={"metadata": metadata, "spec": spec.model_copy(update=update)})
        parent = None if self.begins_with is None else str(self.begins_with["uid"])
        return ResolvedJob(job, keys.job(self.uid), "kubernetes", self.search, parent, area=self.shared)

    @property
    def origin(self) -> list[str]:
        if self.begins_with is None:
            return []
        prefix = keys.job(str(self.begins_with["uid"]))
        return [f"{prefix}{name}" for name in self.begins_with["objects"]]

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

    @property
    def sizes(self) -> dict[Role, str]:
        return self.job.memory_sizes

    def with_sizes(self, sizes: Mapping[Role, str]) -> Self:
        memory = self.job.spec.memory.model_copy(update=dict[str, str](sizes.items()))
        spec = self.job.spec.model_copy(update={"memory": memory})
        return replace(self, job=self.job.model_copy(update={"spec": spec}))

    @property
    def deadline_seconds(self) -> float | None:
        return self.job.spec.limits.deadline_seconds

    @property
    def keeps_result(self) -> bool:
        storage = self.job.spec.storage
        return storage is None or storage.deletion_policy == "Retain"

    @property
    def grows(self) -> bool:
        return self.job.spec.memory.grow_on_oom

    def more_memory(self, role: Role) -> str:
        return f"raise spec.memory.{role}, lower spec.data.microBatchSize, or set spec.memory.growOnOOM"

    @property
    def cpus(self) -> dict[Role, float | None]:
        return self.job.cpus

    @property
    def cpu_by_memory(self) -> bool:
        return self.job.cpu_by_memory

    @property
    def pods(self) -> PodsSpec:
        return self.job.spec.pods or PodsSpec()

    @property
    def threads(self) -> int:
        return self.job.spec.threads

    @property
    def invocation_seconds(self) -> float:
        return self.job.spec.limits.invocation_seconds

    @property
    def source(self) -> str:
        return self.job.spec.data.source

    @property
    def validation(self) -> str:
        asked = self.job.spec.data.validation
        return "" if asked is None else asked.source

    @property
    def weights(self) -> str:
        return self.job.spec.model.weights or ""

    def image(self, role: Role) -> Image:
        own, given = self.job.spec.model.image, self.settings.image(role)
        return given.model_copy(update={"name": own}) if role == "worker" and own is not None else given

    def command(self, role: Role) -> list[str]:
        """The command of a container. A user's image is made from Sapflow's, and may have another entrypoint."""
        if role == "worker" and self.job.spec.model.image is not None:
            return ["python3", "-m", "sapflow_functions.roles.worker"]
        return []

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

    def on(self, inventory: Inventory) -> Self:
        """With the number of workers that the nodes have room for as `maxInstances`, unless the chart sets it."""
        return self.with_room_for(self.settings.max_instances or self.room(inventory) or 0)

    def room(self, inventory: Inventory) -> int | None:
        """The number of workers that fit beside the driver, a merger and what others hold; None if it is not known."""
        worker, merger = (
            Demand(parse_quantity(self.memory(role)), self.cpu_request(role) + SIDECAR_MILLIS)
            for role in self.roles
        )
        driver = Demand(parse_quantity(self.settings.driver_memory), DRIVER_MILLIS)
        beside = [driver] if self.job.spec.merge.reuse_workers else [driver, merger]
        return inventory.room(worker.memory, worker.millis, beside)


def check(wanted: TrainingPool) -> None:
    """Check the rules of a spec that depend on the cluster. Raises SpecError."""
    problems = []
    seconds, most = wanted.invocation_seconds, wanted.settings.max_invocation_seconds
    if seconds > most:
        message = (
            f"is {seconds:g}, and Knative allows {most} here: work that needs longer goes on in the next"
        )
        problems.append(("spec.limits.invocationSeconds", message))
    for field, url in (("source", wanted.source), ("validation.source", wanted.validation)):
        location = s3_location(url)
        if location is not None and location[2]:
            endpoint = location[2].get("endpoint", "").rstrip("/")
            if endpoint != wanted.place.endpoint:
                message = (
                    f"must be in the job's own store, {wanted.place.endpoint}: leave out what follows the '?'"
                )
                problems.append((f"spec.data.{field}", message))
    if problems:
        raise SpecError(problems)
