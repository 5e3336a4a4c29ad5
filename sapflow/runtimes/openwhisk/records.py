"""Records of activations (docs/actions.md and docs/annotations.md of apache/openwhisk): a reply, or what went wrong."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sapflow.errors import InstanceLost, InvocationError, InvocationTimeout, OutOfMemory
from sapflow.messages import frames
from sapflow.messages.openwhisk import NO_FUNCTION
from sapflow.quantities.roles import Role
from sapflow.runtimes.http.answer import describe, error_in
from sapflow.runtimes.sender import Reply

_OUT_OF_MEMORY = "exhausted its memory"
_OUT_OF_TIME = "exceeded its time limits"
_EXITED = "exited unexpectedly"
"""How OpenWhisk on Kubernetes tells also that a container was killed for memory."""
_NO_CONTAINER = ("Failed to pull container image", "Failed to run container with image")
_KEPT = frozenset({"success", "application error"})
"""Statuses of a response after which OpenWhisk keeps the container."""


@dataclass(frozen=True, slots=True)
class Call:
    """What the sender knows of an activation."""

    role: Role
    request: Mapping[str, Any]
    image: str
    waited: float = 0.0
    """Seconds before the request was sent."""
    warm: bool = False
    """Whether a container was free, as far as the sender knows."""
    served: bool = False
    """Whether any container of the action has ever answered."""


def keeps_container(record: Mapping[str, Any]) -> bool:
    """Whether the container of an activation is there for the next one."""
    return _response(record).get("status") in _KEPT


def reply_of(record: Mapping[str, Any], call: Call) -> Reply:
    """The reply in an activation's record. Raises the InvocationError that the record describes if it failed."""
    response = _response(record)
    result = response.get("result")
    where = in_words(call.request, record.get("activationId"))
    if response.get("success") is True and isinstance(result, dict):
        try:
            return _success(record, frames.from_json(result), call)
        except ValueError as error:
            raise InvocationError(f"{where}: {error}", reason="InvalidReply") from error
    raise _failure(response, result, call, where)


def in_words(request: Mapping[str, Any], activation: object) -> str:
    """A request and its activation, by whose id `wsk activation get` shows more."""
    return f"{describe(request)} (activation {activation or 'unknown'})"


def _response(record: Mapping[str, Any]) -> Mapping[str, Any]:
    response = record.get("response")
    return response if isinstance(response, dict) else {}


def _success(record: Mapping[str, Any], result: dict[str, Any], call: Call) -> Reply:
    """The reply of a successful activation. Records have milliseconds; `duration` includes the start, whose time is
    `initTime` if there was one.

    If the sender knew of a free container, `waitTime` is no part of the start: OpenWhisk has waited for a container
    that was gone, which takes it up to a minute and a half, and no start takes as long.
    """
    annotations = {each.get("key"): each.get("value") for each in record.get("annotations", [])}
    start = _seconds(annotations.get("initTime"))
    queue = _seconds(annotations.get("waitTime"))
    took = max(0.0, _seconds(record.get("duration")) - start)
    if start and not call.warm:
        return Reply(result, took, cold_seconds=start + queue, queue_seconds=call.waited)
    return Reply(result, took, cold_seconds=start, queue_seconds=call.waited + queue)


def _failure(response: Mapping[str, Any], result: object, call: Call, where: str) -> InvocationError:
    said = error_in(result, where)
    if said is not None:
        return said
    text = str(result.get("error", "")) if isinstance(result, dict) else ""
    what = f"{where}: {text or response.get('status', 'no result')}"
    if text.startswith(NO_FUNCTION):
        return InvocationError(what, reason="StartFailed")
    if text.startswith(_NO_CONTAINER) and not call.served:
        return InvocationError(
            f"{what} No container of the {call.role} has run: check that OpenWhisk can pull the image "
            f"{call.image}, and that it has room for one more container",
            reason="StartFailed",
        )
    if _OUT_OF_MEMORY in text:
        return OutOfMemory(what)
    if _OUT_OF_TIME in text:
        return InvocationTimeout(what)
    if _EXITED in text:
        return InstanceLost(
            f"{what} On Kubernetes, OpenWhisk says this also of a container that was killed for memory: if it "
            f"happens again, raise spec.memory.{call.role}"
        )
    return InstanceLost(what)


def _seconds(milliseconds: object) -> float:
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else 0.0
