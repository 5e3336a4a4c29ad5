"""A pool that trains: workers, mergers and a driver, whose sizes, CPUs, pods and images a TrainingJob says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from sapflow.errors import SpecError
from sapflow.quantities.memory import parse_quantity
from sapflow.quantities.roles import ALL_ROLES, TRAINING_ROLES, Role
from sapflow.records.memory_search import SearchSettings
from sapflow.spec.pods import PodsSpec
from sapflow.spec.sources import s3_location
from sapflow.spec.training_job import TrainingJob
from sapflow_operator.nodes import Demand, Inventory
from sapflow_operator.resources.driver_job import DRIVER_MILLIS
from sapflow_operator.settings import Image
from sapflow_operator.wanted import Wanted

SIDECAR_MILLIS = 25
"""CPU request of Knative's queue-proxy in each function's pod (`queue-sidecar-cpu-request`), in thousandths."""


@dataclass(frozen=True)
class JobPool(Wanted):
    """The functions and the driver of a TrainingJob, or of many that share them and have all of this one but what their
    functions need not know when they start."""

    job: TrainingJob
    """The current spec; memory sizes may have grown since it was written."""

    shared: str | None = field(default=None, kw_only=True)
    """The shared area that has the job's data, once that is decided."""
    search: SearchSettings | None = field(default=None, kw_only=True)
    """The search for the workers' best size. Then `job` has the current size, while driver and functions read the first
    size, so that a change does not restart the driver."""
    fields: ClassVar[str] = "spec"
    """The path of the job's spec in the resource's own."""
    fails_alone: ClassVar[bool] = False
    """Whether what needs more memory than there is fails alone, and the resource goes on."""

    @property
    def roles(self) -> tuple[Role, ...]:
        return TRAINING_ROLES if self.job.spec.data.prepare is None else ALL_ROLES

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
        smaller = "" if role == "preparer" else f" lower {self.fields}.data.microBatchSize,"
        return f"raise {self.fields}.memory.{role},{smaller} or set {self.fields}.memory.growOnOOM"

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
    def objects(self) -> Sequence[str]:
        """The weights that a model begins with, and what steps of a preparation name."""
        weights = self.job.spec.model.weights
        return [*([] if weights is None else [weights]), *self.named_files]

    @property
    def named_files(self) -> Sequence[str]:
        """The files that steps of a preparation name, such as tokenizers."""
        prepare = self.job.spec.data.prepare
        return () if prepare is None else prepare.named_files

    def image(self, role: Role) -> Image:
        own, given = self.job.spec.model.image, self.settings.image(role)
        return given.model_copy(update={"name": own}) if role == "worker" and own is not None else given

    def command(self, role: Role) -> list[str]:
        """The command of a container. A user's image is made from Sapflow's, and may have another entrypoint."""
        if role == "worker" and self.job.spec.model.image is not None:
            return ["python3", "-m", "sapflow_functions.roles.worker"]
        return []

    def on(self, inventory: Inventory) -> Self:
        """With the number of workers that the nodes have room for as `maxInstances`, unless the chart sets it."""
        return self.with_room_for(self.settings.max_instances or self.room(inventory) or 0)

    def room(self, inventory: Inventory) -> int | None:
        """The number of workers that fit beside the driver, a merger and what others hold; None if it is not known."""
        worker, merger = (
            Demand(parse_quantity(self.memory(role)), self.cpu_request(role) + SIDECAR_MILLIS)
            for role in TRAINING_ROLES
        )
        driver = Demand(parse_quantity(self.settings.driver_memory), DRIVER_MILLIS)
        beside = [driver] if self.job.spec.merge.reuse_workers else [driver, merger]
        return inventory.room(worker.memory, worker.millis, beside)


def check(wanted: JobPool) -> None:
    """Check the rules of a job's spec that depend on the cluster. Raises SpecError."""
    problems = []
    seconds, most = wanted.invocation_seconds, wanted.settings.max_invocation_seconds
    if seconds > most:
        message = (
            f"is {seconds:g}, and Knative allows {most} here: work that needs longer goes on in the next"
        )
        problems.append((f"{wanted.fields}.limits.invocationSeconds", message))
    urls = [("source", wanted.source), ("validation.source", wanted.validation)]
    urls += [("prepare.steps.tokens.tokenizer", name) for name in wanted.named_files]
    for name, url in urls:
        location = s3_location(url)
        if location is not None and location[2]:
            endpoint = location[2].get("endpoint", "").rstrip("/")
            if endpoint != wanted.place.endpoint:
                message = (
                    f"must be in the job's own store, {wanted.place.endpoint}: leave out what follows the '?'"
                )
                problems.append((f"{wanted.fields}.data.{name}", message))
    if problems:
        raise SpecError(problems)
