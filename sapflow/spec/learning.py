"""The part of a TrainingJob's spec that says what is learnt, from what, and by which rules."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from sapflow.algorithms.facts import Facts
from sapflow.spec.types import Count, Dotted, Image, Model


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
    micro_batch_size: Count | None = Field(
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
        None, description="Stop at the first evaluated version whose validation accuracy reaches this."
    )
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
