"""What functions answer, one reply an operation.

An answer that does not fit is refused where it arrives (`read`), by the name of its field: nothing behind it looks
into a dictionary.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from sapflow.errors import InvocationError
from sapflow.messages.message import Message
from sapflow.messages.vectors import Sizes


class Transfers(Message):
    """Bytes that a call has moved."""

    read: int = Field(0, ge=0)
    written: int = Field(0, ge=0)
    store_read: int | None = Field(None, ge=0)
    store_written: int | None = Field(None, ge=0)
    """Functions of a cell: bytes of all kinds that passed through the job's store; the rest stayed in the cell."""


class FunctionReply(Message):
    """What every answer has: whether the work is done, and where time, bytes and memory went."""

    done: bool
    seconds: dict[str, float] = {}
    """By phase, inside the function."""
    bytes: Transfers = Transfers()
    peak_memory_bytes: int = Field(0, ge=0)
    node: str | None = None
    """Functions of a cell: where the cell is, if the function knows."""

    def progress(self) -> dict[str, Any]:
        """Fields of the request that goes on where this answer stopped; of answers that are not `done`."""
        return {}


class CutReply(FunctionReply):
    """The data is cut into blocks."""

    manifest: str
    train: int
    validation: int
    forward_flops: int | None = None
    """Floating-point operations of the model's forward pass, for one sample."""


class InitializeReply(FunctionReply):
    """Version 0 is written."""

    sizes: Sizes
    slots: list[str]
    """Names of the optimiser's state vectors."""
    layout: list[dict[str, Any]]
    """Names of the model's state on the vector."""
    memory_needed_bytes: int | None = None
    """What a worker needs at least, where the request has asked for an estimate."""


class _Resumable(FunctionReply):
    """Work that may run out of time: the key of its cursor, from which the next request goes on."""

    cursor: str | None = None

    def progress(self) -> dict[str, Any]:
        return {"cursor": self.cursor}


class TrainReply(_Resumable):
    """A rank's contribution is written."""

    samples: int = 0
    losses: dict[str, float | None] = {}
    """Sums over the samples; None where a sum is not finite."""


class EvaluateReply(FunctionReply):
    """Sums over the held-out samples up to `position`."""

    position: int
    samples: int
    sums: dict[str, str]
    """As hexadecimal floats."""

    def progress(self) -> dict[str, Any]:
        return {"position": self.position, "sums": self.sums}


class MergeReply(_Resumable):
    """A merger's contribution is written."""

    samples: int = 0


class RootReply(_Resumable):
    """One phase of the root; `finite` false means that nothing was written."""

    finite: bool = True
    samples: int = 0
    losses: dict[str, float] = {}
    """Sums over the samples."""
    gradient_norm: float = 0.0
    norms: str = ""
    """Base64 of the squared norms of the range's blocks, float64."""
    outcomes: list[bool] | None = None
    """Where each child was applied by itself: whether it was finite."""


class ExportReply(FunctionReply):
    """The model is written by the names of its tensors."""

    sha256: str


R = TypeVar("R", bound=FunctionReply)


def read(body: Mapping[str, Any], kind: type[R], what: str) -> R:
    """The answer to `what`, checked. Raises an InvocationError that names the field that does not fit."""
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
