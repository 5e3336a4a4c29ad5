"""The TrainingJob: one source of its fields, defaults, bounds and checks.

`load` turns YAML text into a `TrainingJob` or raises SpecError with every problem found: the field's path, what is
wrong, what is allowed.
"""

from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from sapflow import memory, structure
from sapflow.errors import SpecError
from sapflow.optimizers import OptimizerSettings
from sapflow.pricing import PRICES
from sapflow.schedules import Schedule

API_VERSION = "sapflow.dev/v1alpha1"
KIND = "TrainingJob"
MAX_WORKERS = 10_000

NOT_BUILT = {
    "spec.model.image": "images of one's own come with the cluster runtime",
    "spec.memory.optimize": "memory optimisation comes with the planner",
    "spec.memory.growOnOOM": "it comes with the cluster runtime",
    "spec.cpu": "CPU limits come with the cluster runtime; threads sets how many a worker computes with",
    "spec.affinity": "placement comes with the planner",
    "spec.suspend": "suspending comes with the cluster runtime; a local run stops by Ctrl-C and goes on when run again",
    "spec.ttlSecondsAfterFinished": "it comes with the cluster runtime",
}
"""Fields of the design that no runtime honours yet: refused, because no field is ever ignored."""


class Model(BaseModel):
    """Base of all spec models: camelCase outside, immutable, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, protected_namespaces=()
    )


Positive = Annotated[int, Field(ge=1)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=40)]
Dotted = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=253)]


class Metadata(BaseModel):
    """Kubernetes object metadata; only `name` matters to a local run."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Name = Field(description="Name of the job: lower-case letters, digits and '-', at most 40.")


class ModelSpec(Model):
    """What is trained: a built-in model by `name`, or your own by `entrypoint`."""

    name: Literal["mlp", "cnn", "lenet"] | None = Field(None, description="A built-in model.")
    entrypoint: Dotted | None = Field(
        None, description="Your own model: `package.module:factory`; the factory returns a torch.nn.Module."
    )
    args: dict[str, Any] = Field({}, description="Arguments of the model's factory.")
    loss: Literal["CrossEntropy", "BinaryCrossEntropy", "MSE"] | None = Field(
        None, description="The loss; left out: by the data's task and the number of outputs."
    )


class DataSpec(Model):
    """What is learnt from. See docs/data.md for the sources and formats."""

    source: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="`sklearn:NAME`, `synthetic:binary`, `generated:mnist`, `generated:cifar`, "
        "`s3://bucket/prefix`, or a path (local runs)."
    )
    format: Literal["npz", "idx", "cifar", "csv", "parquet"] | None = Field(
        None, description="Format of files; left out: by the file's name."
    )
    options: dict[str, Any] = Field({}, description="Options of the source: samples, noise, target column …")
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        32, description="Samples of one worker in one (local) step."
    )
    micro_batch_size: Positive | None = Field(
        None,
        description="Samples computed at once; left out: batchSize. Smaller needs less memory and can be cut by time.",
    )
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2, description="Part held out for evaluation, where the source brings no validation set of its own."
    )
    normalize: Literal["Auto", "None", "Scale", "Standardize"] = Field(
        "Auto", description="How features are scaled when read."
    )


class AlgorithmSpec(Model):
    """How workers work together, and for how long."""

    name: Literal["SGD"] = Field(
        "SGD", description="The family: synchronous or asynchronous stochastic gradients."
    )
    mode: Literal["Sync", "Async"] = Field("Sync", description="Whether a step waits for all workers.")
    local_steps: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="Optimiser steps in a worker between two merges; above 1, models are averaged."
    )
    local_state: Literal["Reset", "Average"] = Field(
        "Reset", description="Local optimiser state: starts at zero each round, or is averaged and travels."
    )
    max_staleness: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        None,
        description="Asynchronous: commits between what a worker read and what it changes; left out: workers.",
    )
    epochs: Positive | None = Field(None, description="Passes over the data; this or steps.")
    steps: Positive | None = Field(None, description="Steps to train; this or epochs.")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of weights, data order and dropout."
    )
    target_accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Stop at the first evaluated version whose validation accuracy reaches this."
    )
    on_nan: Literal["Fail", "Skip"] = Field(
        "Fail", alias="onNaN", description="What a step with a loss or gradient that is not finite does."
    )


class ScheduleSpec(Model):
    """Learning-rate schedule, by the number of (local) steps taken."""

    name: Literal["Constant", "Step", "Exponential", "Linear", "Cosine"] = "Constant"
    warmup_steps: Annotated[int, Field(ge=0)] = Field(0, description="Steps of linear warm-up.")
    step_size: Positive | None = Field(None, description="Step: steps between two decays.")
    gamma: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Step, Exponential: factor of one decay."
    )
    end_factor: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Linear: factor at the end."
    )
    min_factor: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Cosine: factor at the end."
    )


class OptimizerSpec(Model):
    """The update rule, equal to torch.optim's of that name."""

    name: Literal["SGD", "Momentum", "Nesterov", "Adam", "AdamW", "Adagrad"] = "SGD"
    learning_rate: Annotated[float, Field(gt=0)] = Field(0.01, description="Base learning rate.")
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Momentum, Nesterov; 0.9 if left out."
    )
    beta1: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Adam, AdamW; 0.9 if left out."
    )
    beta2: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="Adam, AdamW; 0.999 if left out."
    )
    epsilon: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Adam, AdamW (1e-8), Adagrad (1e-10)."
    )
    weight_decay: Annotated[float, Field(ge=0)] | None = Field(
        None, description="L2 penalty; decoupled in AdamW (0.01 there if left out, else 0)."
    )
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Largest global norm of the gradient."
    )
    schedule: ScheduleSpec = ScheduleSpec()


class MergeSpec(Model):
    """How contributions are summed."""

    structure: Annotated[list[Positive], Field(min_length=2, max_length=8)] | None = Field(
        None, description="The merge tree, root first: [1, …, workers]. Left out: the paper's closed form."
    )
    shards: Annotated[int, Field(ge=1, le=1024)] = Field(
        1, description="Byte ranges, each summed by its own tree."
    )
    reuse_workers: bool = Field(
        False, description="Merge in warm workers instead of mergers (synchronous only)."
    )


class MemorySpec(Model):
    """Memory limits of the functions, as Kubernetes quantities."""

    worker: str = Field("512Mi", description="Memory limit of a worker.")
    merger: str = Field("256Mi", description="Memory limit of a merger.")

    @field_validator("worker", "merger")
    @classmethod
    def _quantity(cls, value: str) -> str:
        if memory.parse_quantity(value) < 64 << 20:
            raise ValueError("must be at least 64Mi")
        return value


class EvaluationSpec(Model):
    every_steps: Positive | None = Field(
        None, description="Steps between two evaluations; left out: once an epoch."
    )


class LimitsSpec(Model):
    deadline_seconds: Positive | None = Field(
        None, description="Seconds after which the job stops with a checkpoint."
    )
    budget_usd: Annotated[float, Field(gt=0)] | None = Field(
        None, alias="budgetUSD", description="Dollars at which the job stops with a checkpoint."
    )
    invocation_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        300, description="Time limit of one invocation; work that needs longer goes on in the next."
    )
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        3, description="Times that a failed invocation is repeated."
    )


class CheckpointSpec(Model):
    every_steps: Positive | None = Field(
        None, description="Steps between two checkpoints; left out: none but the last."
    )
    keep: Positive = Field(2, description="Newest checkpoints kept.")


class StorageSpec(Model):
    """An S3 endpoint. Local runs take its credentials from the environment."""

    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^/\s]+/?$")]
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: str = "us-east-1"
    secret_name: str | None = Field(None, description="In a cluster: the Secret with the credentials.")


class PricesSpec(Model):
    platform: str = Field("AWSLambda", description="Whose prices the cost is counted in.")

    @field_validator("platform")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in PRICES:
            raise ValueError(f"must be one of {', '.join(sorted(PRICES))}")
        return value


class Spec(Model):
    model: ModelSpec
    data: DataSpec
    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] = Field(description="Number of workers (ranks).")
    algorithm: AlgorithmSpec = AlgorithmSpec(epochs=10)
    optimizer: OptimizerSpec = OptimizerSpec()
    merge: MergeSpec = MergeSpec()
    memory: MemorySpec = MemorySpec()
    threads: Annotated[int, Field(ge=1, le=64)] = Field(1, description="Threads that a worker computes with.")
    evaluation: EvaluationSpec = EvaluationSpec()
    limits: LimitsSpec = LimitsSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    storage: StorageSpec | None = None
    prices: PricesSpec = PricesSpec()


class TrainingJob(Model):
    """A checked TrainingJob."""

    api_version: Literal["sapflow.dev/v1alpha1"]
    kind: Literal["TrainingJob"]
    metadata: Metadata
    spec: Spec

    def to_json(self) -> dict[str, Any]:
        """The resolved job as a JSON value; `parse` reads it back."""
        return self.model_dump(by_alias=True, mode="json", exclude_none=True)

    @property
    def structure(self) -> tuple[int, ...]:
        """The merge tree asked for, or the paper's closed form (k ≤ 2); asynchronous jobs have one root."""
        if self.spec.merge.structure is not None:
            return tuple(self.spec.merge.structure)
        if self.spec.algorithm.mode == "Async":
            return (1, self.spec.workers)
        return structure.closed_form(self.spec.workers)

    @property
    def optimizer_settings(self) -> OptimizerSettings:
        asked = self.spec.optimizer
        given = asked.model_dump(
            include={"momentum", "beta1", "beta2", "epsilon", "weight_decay"}, exclude_none=True
        )
        if asked.name == "AdamW":
            given.setdefault("weight_decay", 0.01)
        return OptimizerSettings(name=asked.name, **given)

    @property
    def schedule(self) -> Schedule:
        return Schedule(**self.spec.optimizer.schedule.model_dump(exclude_none=True))


def load(text: str) -> TrainingJob:
    """A TrainingJob from YAML (or JSON) text. Raises SpecError."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise SpecError([("(document)", f"is not YAML: {error}")]) from error
    if len(documents) != 1:
        raise SpecError([("(document)", f"must hold one TrainingJob, not {len(documents)} documents")])
    return parse(documents[0])


def parse(document: object) -> TrainingJob:
    """A TrainingJob from a decoded document. Raises SpecError with all problems."""
    if not isinstance(document, dict):
        raise SpecError([("(document)", "must be a mapping with apiVersion, kind, metadata and spec")])
    problems = [
        (path, f"is not built yet: {why}; leave it out")
        for path, why in NOT_BUILT.items()
        if _lookup(document, path) not in (None, False)
    ]
    if problems:
        raise SpecError(problems)
    try:
        job = TrainingJob.model_validate(document)
    except ValidationError as error:
        raise SpecError([_explain(dict(item)) for item in error.errors()]) from error
    problems = _cross_checks(job.spec)
    if problems:
        raise SpecError(problems)
    return job


def _lookup(document: dict[str, Any], path: str) -> object:
    value: object = document
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _explain(item: dict[str, Any]) -> tuple[str, str]:
    """One pydantic error as (field path, message for people)."""
    location = list(item["loc"])
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    match item["type"]:
        case "extra_forbidden":
            return path, f"is not a field; {_allowed(location[:-1])}"
        case "missing":
            return path, "is required"
        case "value_error":
            return path, str(item["ctx"]["error"])
        case _:
            return path, f"{item['msg'][0].lower()}{item['msg'][1:]}, got {item['input']!r}"


def _allowed(location: list[Any]) -> str:
    """The fields allowed at a location, found by walking the models."""
    model: type[BaseModel] = TrainingJob
    for name in location:
        for field_name, field in model.model_fields.items():
            if (field.alias or field_name) == name:
                inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
                model = next((c for c in inner if isinstance(c, type) and issubclass(c, BaseModel)), model)
    return "allowed: " + ", ".join(field.alias or name for name, field in model.model_fields.items())


def _cross_checks(spec: Spec) -> list[tuple[str, str]]:
    """What no single field can tell."""
    problems: list[tuple[str, str]] = []

    def check(bad: bool, field: str, message: str) -> None:
        if bad:
            problems.append((f"spec.{field}", message))

    model, algorithm, merge, optimizer = spec.model, spec.algorithm, spec.merge, spec.optimizer
    check((model.name is None) == (model.entrypoint is None), "model", "needs either name or entrypoint")
    check(
        (algorithm.epochs is None) == (algorithm.steps is None), "algorithm", "needs either epochs or steps"
    )
    asynchronous = algorithm.mode == "Async"
    if merge.structure is not None:
        for problem in structure.validate(merge.structure, spec.workers):
            check(True, "merge.structure", problem)
        check(
            asynchronous and len(merge.structure) != 2,
            "merge.structure",
            f"must be [1, {spec.workers}] with algorithm.mode Async: the root applies each contribution by itself",
        )
    check(asynchronous and merge.reuse_workers, "merge.reuseWorkers", "is for algorithm.mode Sync only")
    check(asynchronous and merge.shards > 1, "merge.shards", "must be 1 with algorithm.mode Async")
    check(
        asynchronous and algorithm.local_steps > 1,
        "algorithm.localSteps",
        "must be 1 with algorithm.mode Async",
    )
    check(
        not asynchronous and algorithm.max_staleness is not None,
        "algorithm.maxStaleness",
        "is for algorithm.mode Async only",
    )
    check(
        algorithm.local_state == "Average" and algorithm.local_steps == 1,
        "algorithm.localState",
        "Average needs localSteps above 1",
    )
    micro = spec.data.micro_batch_size
    check(
        micro is not None and micro > spec.data.batch_size,
        "data.microBatchSize",
        f"must be at most batchSize ({spec.data.batch_size})",
    )
    allowed = {
        "momentum": {"Momentum", "Nesterov"},
        "beta1": {"Adam", "AdamW"},
        "beta2": {"Adam", "AdamW"},
        "epsilon": {"Adam", "AdamW", "Adagrad"},
    }
    for name, owners in allowed.items():
        check(
            getattr(optimizer, name) is not None and optimizer.name not in owners,
            f"optimizer.{name}",
            f"is for {' and '.join(sorted(owners))} only, not {optimizer.name}",
        )
    schedule = optimizer.schedule
    for name, alias, owners in (
        ("step_size", "stepSize", {"Step"}),
        ("gamma", "gamma", {"Step", "Exponential"}),
        ("end_factor", "endFactor", {"Linear"}),
        ("min_factor", "minFactor", {"Cosine"}),
    ):
        check(
            getattr(schedule, name) is not None and schedule.name not in owners,
            f"optimizer.schedule.{alias}",
            f"is for {' and '.join(sorted(owners))} only, not {schedule.name}",
        )
    for name, owner in (("step_size", "Step"), ("gamma", "Exponential")):
        check(
            schedule.name == owner and getattr(schedule, name) is None,
            f"optimizer.schedule.{to_camel(name)}",
            f"is required for {owner}",
        )
    return problems
