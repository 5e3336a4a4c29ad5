"""An invocation over HTTP: the body of its request, and the meaning of each answer. All senders share this."""

import json
from collections.abc import Mapping
from typing import Any

from sapflow.errors import InvocationError, InvocationTimeout, OutOfMemory
from sapflow.messages import frames

SECONDS_HEADER = "x-sapflow-seconds"
"""Header of a function's answer: the seconds that its handler took, without the time before and after it."""
AGE_HEADER = "x-sapflow-age"
"""Header of an instance's first answer: the age of its process, in seconds, when the call arrived."""
MEMORY_HEADER = "x-sapflow-memory"
"""Header of a function's answer: its memory limit in bytes, if it knows one."""

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
    said = error_in(body, request)
    if said is not None:
        raise said
    shown = content[:200].decode(errors="replace")
    if status in RETRYABLE_STATUSES:
        raise InvocationError(
            f"{describe(request)}: HTTP {status} on the way to the function: {shown}",
            reason="Unavailable",
            retryable=True,
        )
    raise InvocationError(f"{describe(request)}: HTTP {status}, and no answer of a function: {shown}")


def error_in(body: object, request: Mapping[str, Any]) -> InvocationError | None:
    """The error that a function's error body describes; None for any other body."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("reason"), str):
        return None
    reason = error["reason"]
    message = f"{describe(request)}: {error.get('message', reason)}"
    if reason == OutOfMemory.reason:
        return OutOfMemory(message)
    return InvocationError(message, reason=reason, retryable=error.get("retryable") is True)


def reason_of(content: bytes) -> str | None:
    """The reason in a function's error body; None for any other body, such as that of a proxy."""
    try:
        reason = json.loads(content)["error"]["reason"]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    return reason if isinstance(reason, str) else None


def timed_out(request: Mapping[str, Any], seconds: float) -> InvocationTimeout:
    return InvocationTimeout(
        f"{describe(request)}: no answer within {seconds:g} s; if it was at work, raise limits.invocationSeconds"
    )


def describe(request: Mapping[str, Any]) -> str:
    """A request as text for messages, such as `train version 3 rank 1`."""
    parts = [str(request.get("op", "call"))]
    parts += [f"{key} {request[key]}" for key in ("version", "rank") if key in request]
    return " ".join(parts)
