"""How the driver calls a function: one interface, several senders (embedded, Knative, OpenWhisk)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from sapflow.messages import replies
from sapflow.messages.replies import FunctionReply
from sapflow.quantities.roles import Role


@dataclass(frozen=True, slots=True)
class Reply:
    """A function's answer and what the sender saw of it."""

    body: dict[str, Any]
    seconds: float
    """From hand-over to an instance until its answer (what a platform bills), cold start left out."""
    cold_seconds: float
    """Seconds that a new instance took to become ready for this call; 0 for a warm one."""
    queue_seconds: float
    """Seconds that the call waited for a free instance."""
    memory_bytes: int | None = None
    """The memory limit that the instance says it has."""


R = TypeVar("R", bound=FunctionReply)


@dataclass(frozen=True, slots=True)
class Answered(Generic[R]):
    """A function's answer, checked, beside what the sender saw of it."""

    reply: R
    seconds: float
    cold_seconds: float
    queue_seconds: float
    memory_bytes: int | None = None

    @classmethod
    def of(cls, raw: Reply, kind: type[R], what: str) -> "Answered[R]":
        """The answer to `what`. Raises an InvocationError that names the field that does not fit."""
        reply = replies.read(raw.body, kind, what)
        return cls(reply, raw.seconds, raw.cold_seconds, raw.queue_seconds, raw.memory_bytes)


class Sender(Protocol):
    """Sends one invocation to some instance of a role. Cancelling the call gives its instance up."""

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """Invoke and wait. `seconds` is the time limit of the function, counted from the hand-over.

        Raises InvocationError and its children: an error body `{"error": {"reason", "message", "retryable"}}`
        becomes InvocationError with these, a kill for memory OutOfMemory, a death InstanceLost,
        no answer in time InvocationTimeout.
        """

    async def close(self) -> None:
        """End every instance that this sender owns."""
