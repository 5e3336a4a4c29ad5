"""An invocation over HTTP: the body of its request, and the meaning of each answer. All senders share this."""

from collections.abc import Mapping
from typing import Any

from sapflow.errors import InvocationError, InvocationTimeout, OutOfMemory
from sapflow.messages import frames
from sapflow.text import parse_json

RETRYABLE_STATUSES = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses that proxies between caller and function answer with when another try may help."""


def encode(request: Mapping[str, Any], seconds: float) -> bytes:
    """The body of a request, with `secondsLeft` set to `seconds`."""
    return frames.encode({**request, "secondsLeft": seconds})


def interpret(request: Mapping[str, Any], status: int, content: bytes) -> dict[str, Any]:
    """The JSON object of an answer. Raises the InvocationError that an answer describes if it is an error."""
    try:
        body = frames.decode(content)
    except ValueError:
        body = None
    if status == 200 and isinstance(body, dict):
        return body
    where = describe(request)
    said = error_in(body, where)
    if said is not None:
        raise said
    shown = content[:200].decode(errors="replace")
    if status in RETRYABLE_STATUSES:
        raise InvocationError(
            f"{where}: HTTP {status} on the way to the function: {shown}",
            reason="Unavailable",
            retryable=True,
        )
    raise InvocationError(f"{where}: HTTP {status}, and no answer of a function: {shown}")


def error_in(body: object, where: str) -> InvocationError | None:
    """The error that a function's error body describes; None for any other body. `where`: of which call it tells."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("reason"), str):
        return None
    reason = error["reason"]
    message = f"{where}: {error.get('message', reason)}"
    if reason == OutOfMemory.reason:
        return OutOfMemory(message)
    return InvocationError(message, reason=reason, retryable=error.get("retryable") is True)


def reason_of(content: bytes) -> str | None:
    """The reason in a function's error body; None for any other body, such as that of a proxy."""
    try:
        reason = parse_json(content)["error"]["reason"]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return reason if isinstance(reason, str) else None


def timed_out(request: Mapping[str, Any], seconds: float) -> InvocationTimeout:
    return InvocationTimeout(f"{describe(request)}: no answer within {seconds:g} s")


def describe(request: Mapping[str, Any]) -> str:
    """A request as text for messages, such as `train version 3 rank 1`."""
    parts = [str(request.get("op", "call"))]
    parts += [f"{key} {request[key]}" for key in ("version", "rank") if key in request]
    return " ".join(parts)
