"""The OpenWhisk action contract over the same handlers: POST /init once, then POST /run for every activation.

The contract is docs/actions-new.md of apache/openwhisk. To its invoker, a 200 whose object has only the field `error`
is an error of the application, and it keeps the container; any other status is a failure of the container, which it
discards. So errors that handlers report are answered with 200, and with 502 whatever means that this container serves
nothing more: unexpected errors, a shutdown, a process that was started anew and knows no store, a call that is still
at work although the platform takes the container for idle. The status is never 503: OpenWhisk would send such a call
again, but loses it if it is a container's first.

Anybody who reaches the port may send a body, because the token is inside it. So both routes exist only in processes
that were started without a store, and take no more than OpenWhisk sends.
"""

import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response

from sapflow.errors import SapflowError
from sapflow.messages import frames
from sapflow.messages.openwhisk import NO_FUNCTION
from sapflow.objects.stores.factory import open_store
from sapflow_functions.calls import NOT_CONFIGURED, UNAUTHORIZED, Answer, Function
from sapflow_functions.settings import OPENWHISK, Settings

END_OF_LOG = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
"""The line that ends an activation's log on stdout and on stderr; the platform waits for both."""
INIT_BYTES = 64 << 10
"""The most bytes that a body of `/init` has: the action's parameters and no code."""
RUN_BYTES = 1 << 20
"""The most bytes that a body of `/run` has: OpenWhisk allows parameters of 1 MiB."""
_DISCARDED = frozenset({"Busy", "NotConfigured", "ShuttingDown"})
"""Outcomes after which OpenWhisk must not send this container another activation."""


def add_routes(app: FastAPI, function: Function) -> None:
    """Add `/init` and `/run` to the application."""
    initialized = False

    async def init(request: Request) -> Response:
        nonlocal initialized
        if initialized:
            return _fail(403, "the action is initialized already; it can be initialized once")
        try:
            body = await _object(request, INIT_BYTES)
        except _TooLarge as error:
            return _fail(413, str(error))
        if body is None or not isinstance(body.get("value", {}), dict):
            return _fail(400, "the body is no JSON object with an object `value`")
        # Code in `value` is neither run nor stored, because the function is part of the image.
        env = body.get("value", {}).get("env")
        told = env if isinstance(env, dict) else {}
        try:
            settings = Settings.read([], {n: str(value) for n, value in told.items() if n != OPENWHISK})
            function.configure(settings.token, open_store(settings.store, settings.credentials))
        except SapflowError as error:
            return _fail(400, f"{NO_FUNCTION}: {error}")
        initialized = True
        return Response(b'{"ok": true}', media_type="application/json")

    async def run(request: Request) -> Response:
        answer = await _activate(function, request)
        for stream in (sys.stdout, sys.stderr):
            print(END_OF_LOG, file=stream, flush=True)
        return answer.response()

    app.add_route("/init", init, methods=["POST"])
    app.add_route("/run", run, methods=["POST"])


async def _activate(function: Function, request: Request) -> Answer:
    if not function.configured:
        return NOT_CONFIGURED
    try:
        body = await _object(request, RUN_BYTES)
    except _TooLarge as error:
        return Answer.error(413, "BadRequest", str(error))
    value = body.get("value") if body is not None else None
    if body is None or not isinstance(value, dict):
        return Answer.error(400, "BadRequest", "the body is no JSON object with an object `value`")
    token = value.pop("token", None)
    if not isinstance(token, str) or not function.holds_token(token):
        return UNAUTHORIZED
    try:
        value = frames.from_json(value)
    except ValueError as error:
        return Answer.error(400, "BadRequest", str(error))
    answer = await function.call(value, _deadline(body), request, _encode)
    kept = answer.expected and answer.outcome not in _DISCARDED
    return Answer(200 if kept else 502, answer.body, answer.outcome)


def _encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(frames.to_json(message)).encode()


class _TooLarge(Exception):
    """A body has more bytes than its route takes."""


async def _object(request: Request, most: int) -> dict[str, Any] | None:
    """The JSON object in the body, None if it holds anything else. Reads `most` bytes. Raises _TooLarge."""
    length = request.headers.get("content-length", "0")
    received = bytearray()
    if not length.isdecimal() or int(length) <= most:
        async for piece in request.stream():
            received += piece
            if len(received) > most:
                break
        else:
            return _parsed(received)
    raise _TooLarge(f"the body has more than {most} bytes")


def _parsed(text: bytearray) -> dict[str, Any] | None:
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _deadline(body: dict[str, Any]) -> float:
    """The activation's deadline on the monotonic clock. The platform gives it as text, in milliseconds since 1970."""
    try:
        return time.monotonic() + float(body["deadline"]) / 1000 - time.time()
    except (KeyError, TypeError, ValueError):
        return math.inf


def _fail(status: int, message: str) -> Response:
    return Response(json.dumps({"error": message}), status, media_type="application/json")
