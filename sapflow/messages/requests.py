"""The driver's requests to functions: keys, ranges and settings, never tensors.

Each request contains everything that its result depends on, so any instance can serve it and a repeated request writes
the same bytes. Only `attempt`, `secondsLeft` and `collect` may differ between repetitions.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from sapflow.messages.documents import Document
from sapflow.messages.message import Message
from sapflow.messages.refs import INLINE, Ref
from sapflow.messages.vectors import Part, Sizes

COLLECTED_AT_ONCE = 256
COPIED_AT_ONCE = 64
MEASURED_AT_ONCE = 64


class Request(Message):
    """The common part of every request."""

    of_step: ClassVar[bool] = True
    """Whether the call belongs to the making of a version, whose commit counts its time, bytes and memory."""
    job: str
    version: int = Field(ge=0)
    attempt: int = 0
    seconds_left: float = Field(gt=0)
    cell: int | None = Field(None, ge=0)
    """For placed jobs: the cell whose functions are to serve this. None means any."""
    collect: list[str] | None = Field(None, max_length=COLLECTED_AT_ONCE)
    """Keys on the cell's volume that are not needed any more and that the function is to remove, because the driver
    cannot. None if there are none."""

    def inline(self) -> list[Ref]:
        """Contributions that are to be sent along."""
        return []

    def may_carry(self) -> list[str]:
        """Keys of objects that may be sent along, where the driver holds them."""
        return []


class _Summing(Request):
    """A request to sum children, the first `summed` of which the cursor has."""

    children: list[Ref] = []
    summed: int | None = Field(None, ge=0)
    cursor: str | None = None

    def inline(self) -> list[Ref]:
        return [ref for ref in self.children[self.summed or 0 :] if ref.channel == INLINE]


class CutRequest(Request):
    """Cut the job's data into blocks, and check job and model against them. A driver without torch and the data
    libraries sends this; `version` is 0."""

    op: Literal["cut"] = "cut"
    spec: Document


class AskRequest(Request):
    """Suggest the parameters of a search's next trial, by a sampler that needs torch or is the user's own; `version` is
    0."""

    of_step: ClassVar[bool] = False
    op: Literal["ask"] = "ask"
    question: dict[str, Any]
    """What is known of the search, as the sampler takes it."""


class MeasureRequest(Request):
    """Build the models of jobs without allocating them, and say how large they are: for the forecast of a search, whose
    driver has no torch. `version` is 0."""

    of_step: ClassVar[bool] = False
    op: Literal["measure"] = "measure"
    jobs: list[dict[str, Any]] = Field(min_length=1, max_length=MEASURED_AT_ONCE)
    """Documents of TrainingJobs."""
    runtime: Literal["local", "kubernetes"]
    manifest: Document


class InitializeRequest(Request):
    """Build the model from its seed, and write the parameters of version 0, cut into `shards`."""

    op: Literal["initialize"] = "initialize"
    spec: Document
    manifest: Document
    shards: int = Field(ge=1)
    outputs: list[str]
    frozen_output: str
    """Where parameters without gradients are written, if the model has any."""
    estimate: Literal[True] | None = None
    """Whether the answer is to contain the least memory that a worker needs."""
    count_flops: Literal[True] | None = None
    """Whether the answer is to contain the model's arithmetic, because nobody has told the driver yet."""
    describe: Literal[True] | None = None
    """Whether the model is only described, and nothing is written: a fork begins with another job's objects."""


class Copied(Message):
    """One object to copy, with the SHA-256 that it must have, if that is known."""

    source: str
    key: str
    sha256: str | None = None


class CopyRequest(Request):
    """Copy what a fork begins with from the other job's prefix to its own."""

    op: Literal["copy"] = "copy"
    objects: list[Copied] = Field(min_length=1, max_length=COPIED_AT_ONCE)


class Slice(Message):
    """Places `begin` to `end` of the order of one range of an epoch's samples, its blocks laid end to end."""

    range: tuple[int, int]
    window: int = Field(ge=1)
    """The number of pieces of blocks whose samples are mixed."""
    begin: int = Field(ge=0)
    end: int = Field(ge=0)


class Ahead(Message):
    """What the rank takes in its next step, which an instance may read before it is asked for."""

    epoch: int = Field(ge=0)
    slices: list[Slice]


class TrainRequest(Request):
    """Compute one rank's contribution from the samples of `slices` in an epoch, one slice after the other.

    There are several slices only where the number of workers has changed within the epoch.
    """

    op: Literal["train"] = "train"
    spec: Document
    manifest: Document
    code: str | None = None
    """The fingerprint of the code that made version 0, of jobs with code of their own."""
    rank: int = Field(ge=0)
    params: list[Part]
    """The version's objects; the request may carry some of them, and the store has all others."""
    sizes: Sizes
    epoch: int = Field(ge=0)
    slices: list[Slice] = Field(min_length=1)
    ahead: Ahead | None = None
    """Left out in the rank's last step. What is written does not depend on it."""
    schedule_step: int = Field(0, ge=0)
    """For local steps: the number of earlier local steps, for the learning-rate schedule."""
    schedule_total: int | None = None
    schedule_factor: float | None = None
    """Local steps: the factor that a schedule by the loss has come to. Left out where there is none."""
    outputs: list[Ref]
    """The contribution to write, one object per shard."""
    state: str | None = None
    """For algorithms with rank state: the key of the rank's newest state, None if there is none yet."""
    state_output: str | None = None
    """The key of the rank's next state, which is written before the contribution."""
    cursor: str | None = None

    def may_carry(self) -> list[str]:
        return [part.key for part in self.params if part.start < self.sizes.total]

    @property
    def samples(self) -> int:
        """The number of samples."""
        return sum(each.end - each.begin for each in self.slices)


class EvaluateRequest(Request):
    """Evaluate a version on the held-out samples from `position` on, and add to the sums so far."""

    of_step: ClassVar[bool] = False
    op: Literal["evaluate"] = "evaluate"
    spec: Document
    manifest: Document
    code: str | None = None
    """The fingerprint of the code that made version 0, of jobs with code of their own."""
    params: list[Part]
    sizes: Sizes
    position: int = Field(0, ge=0)
    sums: dict[str, str] = {}
    """Sums so far, as hexadecimal floats."""


class KeepRequest(Request):
    """Write the golden rows of a version to `output`: a few rows of the data with the model's outputs."""

    of_step: ClassVar[bool] = False
    op: Literal["keep"] = "keep"
    spec: Document
    manifest: Document
    code: str | None = None
    params: list[Part]
    sizes: Sizes
    profile: str | None = None
    """The key of the profile of prepared data, whose rows are taken; None: samples of data that is trained on as it is.
    """
    metadata: dict[str, str]
    """That of the model's file."""
    model: str
    """The SHA-256 of the model's file."""
    output: str


class MergeRequest(_Summing):
    """Sum `children` in their order into `output`."""

    op: Literal["merge"] = "merge"
    children: list[Ref] = Field(min_length=1)
    output: Ref


class ParameterGroup(Message):
    """What the parameters of one group have of their own."""

    weight_decay: float = Field(ge=0)
    learning_rate_factor: float = Field(1.0, ge=0)


class Update(Message):
    """How a version follows from the previous one: by an optimiser with its settings, or as the mean of models."""

    kind: Literal["optimizer", "average"]
    settings: dict[str, Any] = {}
    learning_rate: float = 0.0
    step: int = Field(1, ge=1)
    """Number of this optimiser update, from 1 (for Adam's bias correction)."""
    clip_norm: float | None = None
    groups: list[ParameterGroup] | None = None
    """Left out, with `ranges`, where all parameters are updated alike."""
    ranges: list[tuple[int, int]] | None = None
    """Consecutive ranges of the request's trained elements, from its `start` on: (stop, index of the group)."""


class RootRequest(_Summing):
    """Sum the last level over `start` to `stop`, and write the new version of that range.

    Phase `step` does everything (one shard). With more shards, `sum` writes the total and answers with the norms of
    blocks; then `apply` gets the norms of all shards and writes. `separate` applies each child separately, in order
    (asynchronous mode).
    """

    op: Literal["root"] = "root"
    phase: Literal["step", "sum", "apply"]
    total: Ref | None = None
    sizes: Sizes
    start: int = Field(ge=0)
    stop: int = Field(ge=0)
    params: list[Part]
    optimizer: list[Part] = []
    update: Update
    schedule: list[float] = []
    """With `separate`: the learning rate of each child's update."""
    separate: bool = False
    norms: str | None = None
    """In phase `apply`: the float64 squared norms of all blocks, as base64."""
    params_output: str
    optimizer_output: str
    carried: Literal[True] | None = None
    """Whether the answer carries the new objects instead of the root writing them. Phase `step` alone."""
    sha256: dict[str, str] | None = None
    """With `carried`: the SHA-256 of the objects in `params` and `optimizer`, as far as known. What an instance keeps
    warm counts only if it is that."""


class ExportRequest(Request):
    """Write a version's named tensors to `output`, in the layout of commit 0."""

    op: Literal["export"] = "export"
    params: list[Part]
    sizes: Sizes
    layout: list[dict[str, Any]]
    metadata: dict[str, str]
    output: str
