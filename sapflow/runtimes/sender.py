"""The interface by which the driver calls functions; its implementations are embedded, Knative and OpenWhisk."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from sapflow.messages import replies
from sapflow.messages.frames import ATTACHMENTS
from sapflow.messages.replies import FunctionReply
from sapflow.quantities.roles import Role


@dataclass(frozen=True, slots=True)
class Reply:
    """A function's answer, and the times that the sender measured."""

    body: dict[str, Any]
    seconds: float
    """Seconds from the hand-over to an instance until its answer, without the cold start. A platform bills these."""
    cold_seconds: float
    """Seconds that a new instance took to become ready for this call; 0 for a warm one."""
    queue_seconds: float
    """Seconds that the call waited for a free instance."""
    memory_bytes: int | None = None
    """The memory limit that the instance reports."""


R = TypeVar("R", bound=FunctionReply)


@dataclass(frozen=True, slots=True)
class Answered(Generic[R]):
    """A function's validated answer, and the times that the sender measured."""

    reply: R
    seconds: float
    cold_seconds: float
    queue_seconds: float
    memory_bytes: int | None = None
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    """Inline contributions that the answer carries, by key."""

    @classmethod
    def of(cls, raw: Reply, kind: type[R], what: str) -> "Answered[R]":
        """Validate the answer to `what`. Raises an InvocationError that names the field that does not fit."""
        body = {name: value for name, value in raw.body.items() if name != ATTACHMENTS}
        reply = replies.read(body, kind, what)
        attached = raw.body.get(ATTACHMENTS) or {}
        return cls(reply, raw.seconds, raw.cold_seconds, raw.queue_seconds, raw.memory_bytes, attached)


def caller_of(request: Mapping[str, Any]) -> Hashable | None:
    """Whose call it is, if the same one comes back for what its last instance keeps: a rank, for its data, or the root
    of a shard, for its range of parameters and optimiser state."""
    job, rank = str(request.get("job", "")), request.get("rank")
    if isinstance(rank, int):
        return (job, "rank", rank)
    if request.get("op") == "root":
        return (job, "root", request.get("start"))
    return None


class Sender(Protocol):
    """Sends an invocation to any instance of a role. Cancelling the call gives up its instance."""

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """Invoke and wait for the answer. `seconds` is the function's time limit, counted from the hand-over.

        Raises InvocationError and its children: InvocationError with the fields of an error body
        `{"error": {"reason", "message", "retryable"}}`, OutOfMemory if the instance was killed for memory,
        InstanceLost if it died, InvocationTimeout if there was no answer in time.
        """

    async def close(self) -> None:
        """End every instance that this sender owns."""
