"""The part of a TrainingJob's spec that says what is learnt, from what, and by which rules."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, StringConstraints, model_serializer

from sapflow.algorithms.facts import Facts
from sapflow.spec.preparation.prepare import PrepareSpec
from sapflow.spec.types import METRIC_PATTERN, Count, Dotted, Image, Model

MetricName = Annotated[str, StringConstraints(pattern=METRIC_PATTERN, max_length=32)]
"""Which there are depends on the data's task: it is asked when the data is known."""


VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)]


class ClassWeightsSpec(Model):
    """Classification: what a sample's loss is multiplied by, by its class, or of several labels the loss of one that
    is there. The sum is divided by the number of samples, not of weights."""

    policy: Literal["Balanced"] | None = Field(
        None, description="Weights in inverse proportion to how often classes are in the training samples."
    )
    values: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=4096)] | None = (
        Field(None, description="One weight a class, or a label, in their order.")
    )


class ModelSpec(Model):
    """What is trained: a built-in model by `name`, or your own by `entrypoint`."""

    name: Literal["mlp", "cnn", "lenet"] | None = Field(None, description="A built-in model.")
    entrypoint: Dotted | None = Field(
        None, description="Your own model: `package.module:factory`; the factory returns a torch.nn.Module."
    )
    image: Image | None = Field(
        None, description="In a cluster: an image with your entrypoint, made from Sapflow's worker image."
    )
    args: dict[str, Any] = Field({}, description="Arguments of the model's factory.")
    weights: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = Field(
        None,
        description="A safetensors file that training starts from: a path (local runs), or "
        "`s3://bucket/key.safetensors`, of which all tensors must be the model's. Left out: weights from the seed.",
    )
    weights_match: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=256)]],
            Field(min_length=1, max_length=32),
        ]
        | None
    ) = Field(
        None,
        description="Patterns on the model's tensor names: only these are taken from `weights`, and the others start "
        "from the seed; each pattern must match one. Left out: all, and the file has no others.",
    )
    env: Annotated[dict[VariableName, str], Field(min_length=1, max_length=32)] | None = Field(
        None,
        description="Environment variables while your factory builds the model; functions have no others of yours.",
    )
    loss: (
        Literal["CrossEntropy", "BinaryCrossEntropy", "Hinge", "SquaredHinge", "MSE", "L1", "Huber"] | None
    ) = Field(None, description="The loss; left out: by the data's task and the number of outputs.")
    huber_delta: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Huber: the error from which on the loss grows linearly; 1 if left out."
    )
    loss_entrypoint: Dotted | None = Field(
        None,
        description="Your own loss: `package.module:function`; it takes outputs and targets and returns the loss of "
        "each sample, a float tensor [samples].",
    )
    class_weights: ClassWeightsSpec | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None,
        description="Classification: how much of each target is spread evenly over the classes; 0 if left out.",
    )

    @property
    def code(self) -> tuple[str, ...]:
        """Every function outside of Sapflow that this names, and that is imported and called because of it."""
        return tuple(each for each in (self.entrypoint, self.loss_entrypoint) if each is not None)


SampleFormat = Literal["npz", "idx", "cifar", "csv", "parquet"]
"""What holds samples as they are."""
Format = Literal["npz", "idx", "cifar", "csv", "parquet", "jsonl", "images"]
"""What data may be in: jsonl and images become samples by `prepare` alone."""


class ValidationSpec(Model):
    """A source of its own for the samples that evaluations take, in place of a part of `data.source`. The columns of
    tables are matched by name."""

    source: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="`s3://bucket/prefix`, or a path (local runs): files with the same features and targets."
    )
    format: SampleFormat | None = Field(
        None, description="Format of the files; left out: by the file's name."
    )
    options: dict[str, Any] | None = Field(
        None,
        description="How these files are written, where that differs from data.options: delimiter, header, names of "
        "arrays.",
    )


class DataSpec(Model):
    """What is learnt from. See docs/data.md for the sources and formats."""

    source: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="`sklearn:NAME`, `synthetic:binary`, `generated:mnist`, `generated:cifar`, "
        "`s3://bucket/prefix`, or a path (local runs)."
    )
    format: Format | None = Field(
        None,
        description="Format of files; left out: by the file's name. jsonl and images go with prepare.",
    )
    options: dict[str, Any] = Field(
        {}, description="Options of the source: samples, noise, target column, group column …"
    )
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        32, description="Samples of one worker in one (local) step."
    )
    micro_batch_size: Count | None = Field(
        None,
        description="Samples computed at once; left out: batchSize. Smaller needs less memory and can be cut by time.",
    )
    drop_last: bool | None = Field(
        None,
        description="Leave out the last step of an epoch where it has fewer samples than the others; left out: it is "
        "taken.",
    )
    partition: Literal["Shuffled", "Fixed"] | None = Field(
        None,
        description="Which samples a worker takes: others in each epoch (Shuffled, or left out), or always the same "
        "(Fixed), which a warm worker reads once, as far as its memory goes.",
    )
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.2,
        description="Part held out for evaluation, where the source brings no validation set of its own and "
        "data.validation names none.",
    )
    split: Literal["Random", "Stratified"] | None = Field(
        None,
        description="How that part is drawn: at random (Random, or left out), or from each class in proportion "
        "(Stratified, for classification).",
    )
    validation: ValidationSpec | None = None
    normalize: Literal["Auto", "None", "Scale", "Standardize"] = Field(
        "Auto", description="How features are scaled when read."
    )
    scale_target: bool | None = Field(
        None,
        description="Regression: the loss sees targets less their mean, divided by their deviation; metrics and "
        "predictions stay in the targets' own units.",
    )

    prepare: PrepareSpec | None = None

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the fraction's default where it means nothing: written down it would read as if it were asked for."""
        document: dict[str, Any] = handler(self)
        elsewhere = self.validation is not None or self.prepare is not None
        if elsewhere and "validation_fraction" not in self.model_fields_set:
            for name in ("validationFraction", "validation_fraction"):
                document.pop(name, None)
        return document


class TargetSpec(Model):
    """A metric's value that is good enough: the job stops there."""

    metric: MetricName = Field(description="accuracy, macroF1, auc, exactMatch, r2, mae, rmse or loss.")
    value: float = Field(description="At least this, or at most where less is better.")


class EarlyStoppingSpec(Model):
    """Stops a job whose evaluations no longer get better."""

    metric: MetricName = Field("loss", description="The metric that is watched, on the held-out samples.")
    patience: Count = Field(
        description="Evaluations in a row without a better value after which the job stops."
    )
    min_delta: Annotated[float, Field(ge=0)] = Field(
        0.0, description="A value is better if it is so by more than this."
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
    local_state: Literal["Reset", "Average", "Keep"] = Field(
        "Reset",
        description="Local optimiser state: starts at zero each round, is averaged and travels, or is each rank's own.",
    )
    max_staleness: Annotated[int, Field(ge=0, le=100_000)] | None = Field(
        None,
        description="Asynchronous: commits between what a worker read and what it changes; left out: workers.",
    )
    epochs: Count | None = Field(None, description="Passes over the data; this or steps.")
    steps: Count | None = Field(None, description="Steps to train; this or epochs.")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        0, description="Seed of weights, data order and dropout."
    )
    target_accuracy: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="Stop at the first evaluated version whose validation accuracy reaches this; short for target.",
    )
    target: TargetSpec | None = None
    early_stopping: EarlyStoppingSpec | None = None
    on_nan: Literal["Fail", "Skip"] = Field(
        "Fail", alias="onNaN", description="What a step with a loss or gradient that is not finite does."
    )

    @property
    def facts(self) -> Facts:
        """The algorithm that these fields ask for: the one place that tells one from another."""
        if self.mode == "Async":
            return Facts("asynchronous", unit="contribution", merged=False)
        if self.local_steps > 1:
            return Facts(
                "local_steps",
                local_steps=self.local_steps,
                root_state=False,
                averaged_state=self.local_state == "Average",
                rank_state=self.local_state == "Keep",
                keeps_base=True,
            )
        return Facts("gradient")

    @property
    def wanted(self) -> TargetSpec | None:
        """The target, however it is given."""
        if self.target_accuracy is not None:
            return TargetSpec(metric="accuracy", value=self.target_accuracy)
        return self.target
