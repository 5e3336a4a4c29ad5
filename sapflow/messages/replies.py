"""The replies of functions, one class per operation.

An answer that does not fit is refused where it arrives (`read`), with the name of the field. Code behind that never
handles bare dictionaries.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from sapflow.errors import InvocationError
from sapflow.messages.message import Message
from sapflow.messages.vectors import Sizes


class Transfers(Message):
    """Bytes that a call has read and written."""

    read: int = Field(0, ge=0)
    written: int = Field(0, ge=0)
    store_read: int | None = Field(None, ge=0)
    store_written: int | None = Field(None, ge=0)
    """For functions in a cell: the bytes among these that went through the job's store, not the cell's volume."""


class DataReads(Message):
    """What a call has read of the data's blocks, which `Transfers` leaves out; what was warm costs nothing."""

    bytes: int = Field(0, ge=0)
    """Bytes from the store, those read ahead for a later call included."""
    seconds: float = Field(0.0, ge=0)
    """Seconds inside the store's reads, whether or not the call waited for them; its phase `data` has the waiting."""
    requests: int = Field(0, ge=0)


class FunctionReply(Message):
    """The common part of every answer: whether the work is done, and the time, bytes and memory that it took."""

    done: bool
    seconds: dict[str, float] = {}
    """Seconds inside the function, by phase."""
    bytes: Transfers = Transfers()
    data: DataReads | None = None
    """Of calls that read samples; None from other calls, and from earlier releases."""
    peak_memory_bytes: int = Field(0, ge=0)
    node: str | None = None
    """For functions in a cell: the Kubernetes node of the cell, if the function knows it."""
    cpu: str | None = None
    """The capability of the CPU that computed this (`sapflow.cpu_capability`); None from earlier releases."""
    libraries: dict[str, str] | None = None
    """The versions of the libraries that computed this (`sapflow.library_versions`); None from earlier releases."""

    def progress(self) -> dict[str, Any]:
        """For an answer that is not `done`: the fields of a request that continues the work from there."""
        return {}


class CutReply(FunctionReply):
    """The answer after the data was cut into blocks."""

    manifest: str
    train: int
    validation: int
    forward_flops: int | None = None
    """Floating-point operations of the model's forward pass, for one sample."""


class AskReply(FunctionReply):
    """The answer with the parameters of a search's next trial."""

    parameters: dict[str, Any]
    """Values by path."""
    notes: dict[str, Any] = {}
    """What the sampler wants to be told again with this trial."""


class ModelSize(Message):
    """The size of one job's model, or why it cannot be trained."""

    parameters: int = 0
    averaged: int = 0
    slots: int = 0
    forward_flops: int = 0
    problems: list[tuple[str, str]] | None = None
    """Fields, and what is wrong with them; None: nothing is."""


class MeasureReply(FunctionReply):
    """The answer with the sizes of models, in the request's order."""

    sizes: list[ModelSize]


class InitializeReply(FunctionReply):
    """The answer after version 0 was written."""

    sizes: Sizes
    slots: list[str]
    """Names of the optimiser's state vectors."""
    layout: list[dict[str, Any]]
    """Names and places of the model's state on the vector."""
    weights: str | None = None
    """The SHA-256 of the file that training starts from, of jobs that name one."""
    code: dict[str, str] | None = None
    """The SHA-256 of each module that the model comes from, of jobs with code of their own."""
    memory_needed_bytes: int | None = None
    """The least memory that a worker needs, if the request asked for an estimate."""
    forward_flops: int | None = None
    """Floating-point operations of the model's forward pass for one sample, if the request asked for them."""
    numerics: int | None = None
    """The number of the numerics that the worker computes under; None from releases that name none."""
    sha256: list[str] | None = None
    """The SHA-256 of each object that now stands where the request wanted it, the frozen parameters' last."""


class CopyReply(FunctionReply):
    """The answer after objects were copied: the SHA-256 of each."""

    sha256: list[str]


class _Resumable(FunctionReply):
    """The answer of work that may run out of time. `cursor` is the key from which the next request continues."""

    cursor: str | None = None

    def progress(self) -> dict[str, Any]:
        return {"cursor": self.cursor}


class TrainReply(_Resumable):
    """The answer after a rank's contribution was written."""

    samples: int = 0
    losses: dict[str, float | None] = {}
    """Sums over the samples; None for a sum that is not finite."""
    state_sha256: str | None = None
    """The SHA-256 of the rank's next state, for algorithms that have such."""


class EvaluateReply(FunctionReply):
    """Sums over the held-out samples up to `position`."""

    position: int
    samples: int
    sums: dict[str, str]
    """The sums as hexadecimal floats."""

    def progress(self) -> dict[str, Any]:
        return {"position": self.position, "sums": self.sums}


class _Summing(_Resumable):
    """Sums of children, of which the cursor has the first `summed`."""

    summed: int | None = None
    child_latency: float | None = None
    """The least seconds until a child began to arrive; None where none came from a remote store."""

    def progress(self) -> dict[str, Any]:
        return {**super().progress(), "summed": self.summed}


class MergeReply(_Summing):
    """The answer after a merger's contribution was written."""

    samples: int = 0


class RootReply(_Summing):
    """The answer of a phase of the root. If `finite` is false, nothing was written."""

    finite: bool = True
    samples: int = 0
    losses: dict[str, float] = {}
    """Sums over the samples."""
    gradient_norm: float = 0.0
    norms: str = ""
    """The squared norms of the range's blocks, float64, as base64."""
    outcomes: list[bool] | None = None
    """If each child was applied separately: whether each of them was finite."""
    params_sha256: str | None = None
    """The SHA-256 of the parameters' object that the call wrote; None if it wrote none."""
    optimizer_sha256: str | None = None
    """The same of the optimiser state's."""


class ExportReply(FunctionReply):
    """The answer after the model was written with the names of its tensors."""

    sha256: str


class KeepReply(FunctionReply):
    """The answer after the golden rows were written."""

    rows: int
    """0: none could be kept."""


R = TypeVar("R", bound=FunctionReply)


def read(body: Mapping[str, Any], kind: type[R], what: str) -> R:
    """The validated answer to `what`. Raises an InvocationError that names the field that does not fit."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the body"
        raise InvocationError(
            f"{what}: the function's answer does not fit: {field}: {first['msg']}; "
            "driver and functions must be of one release",
            reason="InvalidReply",
        ) from error
