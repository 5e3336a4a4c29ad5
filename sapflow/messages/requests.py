"""What the driver asks of functions and what they answer: keys, ranges and settings, never tensors.

Each request names everything that its answer depends on, so that any instance may serve it and a repeated one writes
the same bytes. `attempt`, `secondsLeft` and `collect` alone may differ between repetitions.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

COLLECTED_AT_ONCE = 256


class Message(BaseModel):
    """Base: camelCase on the wire, unknown fields refused, immutable.

    Each schema is built when first used: the operator and each function use few of them.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, defer_build=True
    )

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return self.model_dump(by_alias=True, exclude_none=True)


class Part(Message):
    """One object of a vector that is cut into ranges: elements `start` to `stop` of the whole."""

    key: str
    start: int = Field(ge=0)
    stop: int = Field(ge=0)


class Request(Message):
    """What every request has."""

    job: str
    version: int = Field(ge=0)
    attempt: int = 0
    seconds_left: float = Field(gt=0)
    cell: int | None = Field(None, ge=0)
    """Where the job is placed: the cell whose functions serve this; None: any."""
    collect: list[str] | None = Field(None, max_length=COLLECTED_AT_ONCE)
    """Keys of the cell's volume that nobody needs any more: the driver cannot remove them itself. Left out where there
    are none, so that images made from an earlier version know all fields."""


class Sizes(Message):
    """Sizes of a job's vectors in float32 elements.

    `parameters` P are trained; behind them lie `averaged` A values that are averaged past the optimiser: float
    buffers, and local optimiser state where it travels. `block` is the unit of norms and shards.
    """

    parameters: int = Field(ge=1)
    averaged: int = Field(ge=0)
    block: int = Field(ge=1)

    @property
    def total(self) -> int:
        return self.parameters + self.averaged


class PrepareRequest(Request):
    """Cut the job's data into blocks, and check job and model against them. Where the driver has no torch and no data
    libraries; `version` is 0."""

    op: Literal["prepare"] = "prepare"
    spec: str
    check_memory: bool = True
    """Whether functions of too little memory are an error; not where they are given more when they need it."""


class InitializeRequest(Request):
    """Build the model from its seed and write version 0's parameters, cut into `shards`."""

    op: Literal["initialize"] = "initialize"
    spec: str
    manifest: str
    shards: int = Field(ge=1)
    outputs: list[str]
    estimate: Literal[True] | None = None
    """Whether the answer is to say what a worker needs at least."""


class TrainRequest(Request):
    """Compute one rank's contribution from samples `begin` to `end` of the epoch's order."""

    op: Literal["train"] = "train"
    spec: str
    manifest: str
    rank: int = Field(ge=0)
    params: list[Part]
    sizes: Sizes
    shards: int = Field(ge=1)
    epoch: int = Field(ge=0)
    begin: int = Field(ge=0)
    end: int = Field(ge=0)
    schedule_step: int = Field(0, ge=0)
    """Local steps: the number of local steps that came before, for the learning-rate schedule."""
    schedule_total: int | None = None
    outputs: list[str]
    """Keys to write, one a shard."""
    cursor: str | None = None


class EvaluateRequest(Request):
    """Evaluate a version on the held-out samples from `position` on, adding to the sums so far."""

    op: Literal["evaluate"] = "evaluate"
    spec: str
    manifest: str
    params: list[Part]
    sizes: Sizes
    position: int = Field(0, ge=0)
    sums: dict[str, str] = {}
    """Sums so far, as hexadecimal floats."""


class MergeRequest(Request):
    """Sum `children`, in their order, into `output`."""

    op: Literal["merge"] = "merge"
    children: list[str] = Field(min_length=1)
    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    output: str
    cursor: str | None = None


class Update(Message):
    """How a version follows from the one before: the optimiser with its settings, or the mean of local models."""

    kind: Literal["optimizer", "average"]
    settings: dict[str, Any] = {}
    learning_rate: float = 0.0
    step: int = Field(1, ge=1)
    """Number of this optimiser update, from 1 (for Adam's bias correction)."""
    clip_norm: float | None = None


class RootRequest(Request):
    """Sum the last level over `start` to `stop` and write the new version of that range.

    phase `step` does it all (one shard); `sum` writes the total and answers with block norms; `apply` gets the
    norms of all shards and writes. `separate` applies each child by itself, in order (asynchronous mode).
    """

    op: Literal["root"] = "root"
    phase: Literal["step", "sum", "apply"]
    children: list[str] = []
    total: str | None = None
    sizes: Sizes
    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    params: list[Part]
    optimizer: list[Part] = []
    update: Update
    schedule: list[float] = []
    """`separate`: the learning rate of each child's update."""
    separate: bool = False
    norms: str | None = None
    """`apply`: base64 of all blocks' float64 squared norms."""
    weight: int | None = None
    params_output: str
    optimizer_output: str
    cursor: str | None = None


class ExportRequest(Request):
    """Write a version's named tensors to `output`, in the layout that commit 0 holds."""

    op: Literal["export"] = "export"
    params: list[Part]
    sizes: Sizes
    layout: list[dict[str, Any]]
    metadata: dict[str, str]
    output: str
