"""The TrainingJob: its fields, defaults and bounds. Rules between fields are in rules.py.

The CRD is generated from these models, and document.py parses YAML into them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from sapflow.algorithms.hyperparameters import OptimizerSettings
from sapflow.algorithms.schedules import Schedule
from sapflow.quantities import memory, structure
from sapflow.quantities.prices import Price
from sapflow.quantities.roles import Role
from sapflow.spec.learning import AlgorithmSpec, DataSpec, MetricName, ModelSpec
from sapflow.spec.optimizer import OptimizerSpec
from sapflow.spec.origin import OriginSpec
from sapflow.spec.parameters_from import ParametersFromSpec
from sapflow.spec.placement import AffinitySpec, PlacementSpec
from sapflow.spec.pods import PodsSpec
from sapflow.spec.prices import PricesSpec
from sapflow.spec.serving.serve import ServeSpec
from sapflow.spec.types import URL_PATTERN, Count, Cpu, Memory, Model, Name, ObjectName, Seconds, parse_cpu

if TYPE_CHECKING:
    from sapflow.algorithms.optimizers import Grouping
    from sapflow.algorithms.parameter_groups import Asked

API_VERSION = "sapflow.dev/v1alpha1"
KIND = "TrainingJob"
MAX_WORKERS = 10_000
PLANNED_MERGERS = 32
"""A planned job may have this many mergers (of all shards) on a level, or half its workers if that is more."""

OPTIMIZER_FIELDS = {"momentum", "beta1", "beta2", "epsilon", "alpha", "centered", "weight_decay"}
"""Fields of `spec.optimizer` that the update rule itself takes."""

Runtime = Literal["local", "kubernetes"]

CLUSTER_ONLY = {
    "spec.model.image": "images of one's own are for the cluster runtime; a local run imports from where it starts",
    "spec.memory.growOnOOM": "it is for the cluster runtime",
    "spec.memory.optimize": "it is for the cluster runtime, where CPU follows memory: a local process computes no "
    "faster with more memory",
    "spec.cpu": "CPU limits are for the cluster runtime; threads sets how many a worker computes with",
    "spec.pods": "pods are for the cluster runtime; a local run has none",
    "spec.storage.shareCredentials": "it is for the cluster runtime; a local run uses the credentials it is given",
    "spec.storage.deletionPolicy": "it is for the cluster runtime; a local run's objects stay until you remove them",
    "spec.placement.storageClassName": "it is for the cluster runtime; a local run's cells are folders in memory",
    "spec.placement.size": "it is for the cluster runtime; a local run's cells are folders in memory",
    "spec.serve.name": "it is for the cluster runtime; `sapflow serve` names the model as the job",
    "spec.serve.scale": "it is for the cluster runtime; `sapflow serve` is one process",
    "spec.serve.resources": "it is for the cluster runtime; `sapflow serve` has this machine's",
    "spec.serve.canary": "it is for the cluster runtime; `sapflow serve` serves one version",
    "spec.suspend": "suspending is for the cluster runtime; a local run stops by Ctrl-C and goes on when run again",
    "spec.ttlSecondsAfterFinished": "it is for the cluster runtime",
}
"""Fields that only a cluster supports. A local run refuses all values but the default."""


class Metadata(BaseModel):
    """Kubernetes object metadata. A local run uses only `name`."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Name = Field(description="Name of the job: lower-case letters, digits and '-', at most 40.")


class MergeSpec(Model):
    """How contributions are summed."""

    structure: Annotated[list[Count], Field(min_length=2, max_length=8)] | None = Field(
        None, description="The merge tree, root first: [1, …, workers]. Left out: the planner chooses it."
    )
    shards: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="Byte ranges, each summed by its own tree. Left out: the planner chooses."
    )
    reuse_workers: bool = Field(
        False, description="Merge in warm workers instead of mergers (synchronous only)."
    )
    channel: Literal["Auto", "Store", "Inline"] | None = Field(
        None,
        description="How contributions travel: as objects of the store, or inside requests and answers, which is "
        "for small ones. Auto, or left out: inline where they are small enough.",
    )


class OptimizeSpec(Model):
    """In a cluster: a search for the workers' memory limit while the job trains, from memory.worker on. CPU follows
    memory."""

    goal: Literal["Cost", "PerformancePerCost"] = Field(
        "Cost",
        description="What is sought: the least cost of a step, or the most steps per second and dollar.",
    )
    every_steps: Annotated[int, Field(ge=2, le=1000)] = Field(
        10, description="Warm steps that a size is judged by."
    )
    max_updates: Annotated[int, Field(ge=1, le=20)] = Field(
        5, description="Sizes tried after the first two, at most."
    )
    min: Memory | None = Field(
        None, description="The least size; left out, or below it: what the model is estimated to need."
    )
    max: Memory | None = Field(
        None,
        description="The largest size; left out: memory.worker, or what brings as many CPUs as threads, whichever is "
        "more.",
    )

    @field_validator("min", "max", mode="before")
    @classmethod
    def _quantity(cls, value: object) -> object:
        return _readable(value)


def _readable(value: object) -> object:
    """The unchanged quantity. Raises ValueError, before the pattern is checked, with a better message."""
    if isinstance(value, str):
        memory.parse_quantity(value)
    return value


PREPARER_MEMORY = "512Mi"


class MemorySpec(Model):
    """Memory limits of the functions, as Kubernetes quantities."""

    worker: Memory = Field("512Mi", description="Memory limit of a worker.")
    merger: Memory = Field("256Mi", description="Memory limit of a merger.")
    preparer: Memory | None = Field(
        None, description="Memory limit of a preparer, where the data has prepare; 512Mi if left out."
    )
    grow_on_oom: bool = Field(
        False,
        alias="growOnOOM",
        description="In a cluster: a function killed for memory is given half as much again, and the job goes on.",
    )

    optimize: OptimizeSpec | None = None

    @field_validator("worker", "merger", "preparer", mode="before")
    @classmethod
    def _quantity(cls, value: object) -> object:
        return _readable(value)


class CpuSpec(Model):
    """CPU limits of the functions, as Kubernetes quantities; a tenth of each is requested."""

    worker: Cpu | None = Field(
        None,
        description="CPUs of a worker; left out: 1 for each 1,769 MiB of memory, and at least 1. A tenth of what comes "
        "with the memory is requested then.",
    )
    merger: Cpu | None = Field(None, description="CPUs of a merger; left out: as for a worker.")
    preparer: Cpu | None = Field(
        None, description="CPUs of a preparer, where the data has prepare; left out: as for a worker."
    )
    policy: Literal["ByMemory"] | None = Field(
        None,
        description="ByMemory: a function without a limit of its own gets 1 CPU for each 1,769 MiB and no more, as on "
        "public clouds, once it is ready; while it starts it has one CPU, where the cluster can resize pods in place. "
        "memory.optimize implies it.",
    )


class EvaluationSpec(Model):
    """When versions are evaluated on the held-out samples; the last one always is."""

    every_steps: Count | None = Field(
        None, description="Steps between two evaluations; left out: once an epoch."
    )
    metrics: Annotated[list[MetricName], Field(min_length=1, max_length=16)] | None = Field(
        None,
        description="Metrics computed beside the loss, by name; left out: those usual for the data's task.",
    )
    keep_best: MetricName | None = Field(
        None,
        description="The metric by which the best evaluated version becomes the result; left out: the last version "
        "does.",
    )


class LimitsSpec(Model):
    """What a job and its invocations may take. May be changed between two runs of a job."""

    deadline_seconds: Seconds | None = Field(
        None,
        description="Seconds after which the job stops with a checkpoint, also within a step: those that its runs have "
        "taken together, in a cluster all since its start but times of suspension.",
    )
    budget_usd: Annotated[float, Field(gt=0)] | None = Field(
        None, alias="budgetUSD", description="Dollars at which the job stops with a checkpoint."
    )
    goal: Literal["LeastTime", "LeastCost"] | None = Field(
        None,
        description="What the planner chooses merge tree and shards for: least time within budgetUSD, or least cost "
        "within deadlineSeconds. Left out: least time, whatever the limits.",
    )
    invocation_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        300, description="Time limit of one invocation; work that needs longer goes on in the next."
    )
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        3, description="Times that a failed invocation is repeated."
    )
    skipped_steps: Annotated[int, Field(ge=0, lt=2**31)] | None = Field(
        None,
        description="onNaN Skip: steps that may be left out in all (asynchronous: contributions); one more fails the "
        "job. Left out: a tenth of the job's, at least one.",
    )


class CheckpointSpec(Model):
    """Which versions are kept beside the last. May be changed between two runs of a job."""

    every_steps: Count | None = Field(
        None, description="Steps between two checkpoints; left out: none but the last."
    )
    keep: Count = Field(2, description="Newest checkpoints kept.")


class StorageSpec(Model):
    """An S3 endpoint. Local runs take its credentials from the environment."""

    endpoint: Annotated[str, StringConstraints(pattern=URL_PATTERN, max_length=253)] = Field(
        description="Address of the store: `http://host:9000`."
    )
    bucket: Annotated[
        str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", max_length=63)
    ] = Field(description="Bucket that holds the jobs; it must exist.")
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=63)] = Field(
        "us-east-1", description="Region that requests are signed for."
    )
    secret_name: ObjectName | None = Field(
        None,
        description="In a cluster: the Secret of the job's namespace with `access-key` and `secret-key`; left out "
        "where endpoint and bucket are the operator's own.",
    )
    share_credentials: bool = Field(
        False,
        description="In a cluster: give the functions the credentials of secretName as they are, where the store "
        "cannot make any for this job alone.",
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain",
        description="In a cluster, what deleting the job leaves in the store: its result and last checkpoint, "
        "or nothing.",
    )


class Spec(Model):
    model: ModelSpec
    data: DataSpec
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = Field(description="Number of workers (ranks).")
    algorithm: AlgorithmSpec = AlgorithmSpec(epochs=10)
    optimizer: OptimizerSpec = OptimizerSpec()
    merge: MergeSpec = MergeSpec()
    memory: MemorySpec = MemorySpec()
    cpu: CpuSpec | None = Field(None, description="CPU limits of the functions.")
    affinity: Annotated[list[AffinitySpec], Field(min_length=1, max_length=4)] | None = Field(
        None,
        description="Edges of the step graph that are to stay on one node, at most one entry a pair; left out: "
        "functions run anywhere.",
    )
    placement: PlacementSpec | None = Field(
        None, description="The cells of a job with affinity; left out: one a node."
    )
    pods: PodsSpec | None = Field(
        None, description="In a cluster: additions to the pods of functions and driver."
    )
    threads: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Threads that a worker computes with.")
    evaluation: EvaluationSpec = EvaluationSpec()
    limits: LimitsSpec = LimitsSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    begins_at: OriginSpec | None = Field(
        None,
        alias="from",
        description="The job begins at a version of another one, and not at its model's seed.",
    )
    parameters_from: ParametersFromSpec | None = Field(
        None,
        description="The job is trained with the parameters that a search has found: each of the search's parameters "
        "takes the place of what the spec has at its path.",
    )
    storage: StorageSpec | None = None
    serve: ServeSpec | None = None
    prices: PricesSpec = PricesSpec()
    suspend: bool = Field(
        False,
        description="In a cluster: ends driver and functions; false again goes on from the last commit.",
    )
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=315_360_000)] | None = Field(
        None, description="In a cluster: seconds after which a finished job is deleted; left out: never."
    )


class TrainingJob(Model):
    """A checked TrainingJob."""

    api_version: Literal["sapflow.dev/v1alpha1"]
    kind: Literal["TrainingJob"]
    metadata: Metadata
    spec: Spec

    def to_json(self) -> dict[str, Any]:
        """The job as a JSON value; `parse` reads it back."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)

    @property
    def memory_sizes(self) -> dict[Role, str]:
        """The memory limit of each role, as a Kubernetes quantity."""
        sizes: dict[Role, str] = {"worker": self.spec.memory.worker, "merger": self.spec.memory.merger}
        if self.spec.data.prepare is not None:
            sizes["preparer"] = self.spec.memory.preparer or PREPARER_MEMORY
        return sizes

    @property
    def memory_bytes(self) -> dict[Role, int]:
        """The memory limit of each role, in bytes."""
        return {role: memory.parse_quantity(size) for role, size in self.memory_sizes.items()}

    @property
    def cpus(self) -> dict[Role, float | None]:
        """The CPU limit of each role that names one, else None; then the CPUs that come with its memory are billed."""
        cpu = self.spec.cpu or CpuSpec()
        given: dict[Role, str | None] = {"worker": cpu.worker, "merger": cpu.merger, "preparer": cpu.preparer}
        return {role: None if value is None else parse_cpu(value) for role, value in given.items()}

    @property
    def cpu_by_memory(self) -> bool:
        """Whether functions without a CPU limit of their own have exactly what comes with their memory."""
        cpu, memory = self.spec.cpu, self.spec.memory
        return memory.optimize is not None or (cpu is not None and cpu.policy == "ByMemory")

    @property
    def price(self) -> Price:
        """The prices of the job's invocations."""
        return self.spec.prices.price

    def with_workers(self, workers: int) -> "TrainingJob":
        """The same job with another number of workers; itself if that is its own."""
        if workers == self.spec.workers:
            return self
        return self.model_copy(update={"spec": self.spec.model_copy(update={"workers": workers})})

    @property
    def planned(self) -> bool:
        """Whether the planner chooses the merge tree, the shards, or both, once the model's size is known.

        Those of a placed job are fixed earlier, because its cells are made for them.
        """
        merge, free = self.spec.merge, self.spec.algorithm.facts.merged and self.spec.affinity is None
        return free and (merge.structure is None or self.fixed_shards is None)

    @property
    def fixed_shards(self) -> int | None:
        """The shards that the job asks for, or must have; None: a planner chooses."""
        return 1 if self.needs_complete_vector else self.spec.merge.shards

    @property
    def needs_complete_vector(self) -> bool:
        """Whether the root takes steps of an optimiser that needs whole tensors, and so one shard only."""
        return self.optimizer_settings.layerwise and self.spec.algorithm.facts.root_state

    @property
    def shards(self) -> int:
        """The shard count of the spec, else 1, which a planner may replace."""
        return self.fixed_shards or 1

    @property
    def instances(self) -> dict[Role, int]:
        """The most calls of each role that may be under way at once. A planner keeps within it."""
        merge, workers, mergers = self.spec.merge, self.spec.workers, self.first_mergers
        if self.planned and merge.reuse_workers:
            mergers = workers
        elif self.planned:
            width = max(merge.structure[:-1]) if merge.structure else -(-workers // 2)
            mergers = max(width * self.shards, PLANNED_MERGERS)
        found: dict[Role, int] = {"worker": workers, "merger": mergers}
        if self.spec.data.prepare is not None:
            found["preparer"] = workers
        return found

    @property
    def first_mergers(self) -> int:
        """Calls of mergers at once with the spec's tree or else the closed form, before a planner has chosen."""
        return self.shards if self.spec.merge.reuse_workers else max(self.structure[:-1]) * self.shards

    @property
    def structure(self) -> tuple[int, ...]:
        """The merge tree of the spec, else the paper's closed form (k ≤ 2), which a planner may replace."""
        if self.spec.merge.structure is not None:
            return tuple(self.spec.merge.structure)
        if not self.spec.algorithm.facts.merged:
            return (1, self.spec.workers)
        return structure.closed_form(self.spec.workers)

    @property
    def optimizer_settings(self) -> OptimizerSettings:
        asked = self.spec.optimizer
        given = asked.model_dump(include=OPTIMIZER_FIELDS, exclude_none=True)
        return OptimizerSettings.of(asked.name, **given)

    def grouping(self, layout: Sequence[Mapping[str, Any]]) -> "Grouping | None":
        """The parameter groups as ranges of the vector that commit 0's `layout` describes; None: all are treated alike.

        Raises SpecError for patterns that match nothing.
        """
        from sapflow.algorithms import parameter_groups  # imports numpy, which the operator does not need

        return parameter_groups.resolve(self.asked_groups, layout, self.optimizer_settings)

    @property
    def asked_groups(self) -> "list[Asked]":
        """The parameter groups as the spec asks for them."""
        from sapflow.algorithms.parameter_groups import Asked

        return [
            Asked(
                tuple(group.match),
                group.weight_decay,
                1.0 if group.learning_rate_factor is None else group.learning_rate_factor,
            )
            for group in self.spec.optimizer.groups or ()
        ]

    def schedule(self, updates_per_epoch: int) -> Schedule:
        """The learning-rate schedule, its lengths in updates: (local) steps, or applied contributions."""
        asked = self.spec.optimizer.schedule
        given = asked.model_dump(exclude_none=True, exclude={"warmup_epochs", "step_epochs"})
        if asked.warmup_epochs is not None:
            given["warmup_steps"] = _updates(asked.warmup_epochs, updates_per_epoch)
        if asked.step_epochs is not None:
            given["step_size"] = _updates(asked.step_epochs, updates_per_epoch)
        elif asked.name == "Plateau":
            given.setdefault("step_size", updates_per_epoch)
        return Schedule(**given)


def _updates(epochs: float, updates_per_epoch: int) -> int:
    return max(1, round(epochs * updates_per_epoch))
