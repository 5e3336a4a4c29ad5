"""What the driver asks of functions and what they answer: keys, ranges and settings, never tensors.

Each request names everything that its answer depends on, so that any instance may serve it and a repeated one writes
the same bytes. `attempt`, `secondsLeft` and `collect` alone may differ between repetitions.
"""

from typing import Any, Literal

from pydantic import Field

from sapflow.messages.message import Message
from sapflow.messages.refs import Ref
from sapflow.messages.vectors import Part, Sizes

COLLECTED_AT_ONCE = 256


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
    are none."""


class CutRequest(Request):
    """Cut the job's data into blocks, and check job and model against them. Where the driver has no torch and no data
    libraries; `version` is 0."""

    op: Literal["cut"] = "cut"
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
    epoch: int = Field(ge=0)
    begin: int = Field(ge=0)
    end: int = Field(ge=0)
    schedule_step: int = Field(0, ge=0)
    """Local steps: the number of local steps that came before, for the learning-rate schedule."""
    schedule_total: int | None = None
    outputs: list[Ref]
    """What to write, one a shard."""
    state: str | None = None
    """Of algorithms with rank state: where the rank's newest is; none yet: left out."""
    state_output: str | None = None
    """Where the rank's next state goes, before the contribution."""
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
    children: list[Ref] = Field(min_length=1)
    output: Ref
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
    children: list[Ref] = []
    total: Ref | None = None
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
