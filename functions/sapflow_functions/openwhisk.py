"""The OpenWhisk action contract over the same handlers: POST /init once, then POST /run for every activation.

The contract is docs/actions-new.md of apache/openwhisk. To its invoker, a 200 whose object has only the field `error`
is an error of the application, and it keeps the container; any other status is a failure of the container, which it
discards. So errors that handlers report are answered with 200, and unexpected ones with 502.
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
from sapflow.objects.stores.factory import open_store
from sapflow_functions.calls import UNAUTHORIZED, Answer, Function
from sapflow_functions.settings import Settings

END_OF_LOG = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
"""The line that ends an activation's log on stdout and on stderr; the platform waits for both."""


def add_routes(app: FastAPI, function: Function) -> None:
    """Add `/init` and `/run` to the application."""
    initialized = False

    async def init(request: Request) -> Response:
        nonlocal initialized
        body = await _object(request)
        if initialized:
            return _fail(403, "the action is initialized already; it can be initialized once")
        if body is None or not isinstance(body.get("value", {}), dict):
            return _fail(400, "the body is no JSON object with an object `value`")
        # Code in `value` is neither run nor stored, because the function is part of the image.
        env = body.get("value", {}).get("env")
        if not function.configured and isinstance(env, dict):
            try:
                settings = Settings.read([], {name: str(value) for name, value in env.items()})
                function.configure(settings.token, open_store(settings.store, settings.credentials))
            except SapflowError as error:
                return _fail(400, f"the action's parameters do not make a function: {error}")
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
    body = await _object(request)
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
    return Answer(200 if answer.expected else 502, answer.body, answer.outcome)


def _encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(frames.to_json(message)).encode()


async def _object(request: Request) -> dict[str, Any] | None:
    try:
        body = json.loads(await request.body())
    except ValueError:
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
