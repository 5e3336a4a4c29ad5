"""The web application of a function: `/invoke`, the OpenWhisk contract, probes and metrics, over the same handlers.

`/invoke` is on the critical path of training steps of a few milliseconds. So it uses plain Starlette, without body
injection and response models.
"""

import math
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

from sapflow.messages import frames
from sapflow.objects.stores.cell import CellStore
from sapflow.objects.stores.factory import open_store
from sapflow_functions import openwhisk
from sapflow_functions.calls import UNAUTHORIZED, Answer, Function
from sapflow_functions.runner import Handler
from sapflow_functions.settings import Settings


class _Application(FastAPI):
    """Serves `/invoke` before middleware and routing, which would cost a fifth of a warm call for nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/invoke" and scope["method"] == "POST":
            response = await invoke(self.state.function, Request(scope, receive))
            await response(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


async def invoke(function: Function, request: Request) -> Response:
    """Handle POST /invoke: check the token and run the handler."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not function.holds_token(token):
        return UNAUTHORIZED.response()
    try:
        body = frames.decode(await request.body())
    except ValueError as error:
        return Answer.error(400, "BadRequest", f"the body is neither JSON nor a frame: {error}").response()
    return (await function.call(body, math.inf, request)).response()


def create_app(role: str, handlers: Mapping[str, Handler], settings: Settings, born: float) -> FastAPI:
    """The application of a process that started at `born` (time.monotonic()). Its `state.function` is the Function.

    Raises StoreError for a bad store URL.
    """
    store = open_store(settings.store, settings.credentials) if settings.store else None
    if store is not None and settings.cell is not None:
        store = CellStore(store, *settings.cell)
    function = Function(
        role,
        handlers,
        settings.token,
        store,
        born,
        settings.memory_bytes,
        grace_seconds=settings.grace_seconds,
        runs_on=settings.runs_on,
        revision=settings.revision,
    )

    async def healthz(request: Request) -> Response:
        return Response(b'{"ok": true}', media_type="application/json")

    async def metrics(request: Request) -> Response:
        return Response(function.metrics.text(busy=function.busy), media_type="text/plain; version=0.0.4")

    # Telemetry is off, because FastAPI would look for OpenTelemetry providers on every request.
    app = _Application(
        title=f"sapflow {role}",
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.function = function
    app.add_route("/healthz", healthz, methods=["GET"])
    app.add_route("/metrics", metrics, methods=["GET"])
    if not settings.store:
        openwhisk.add_routes(app, function)
    return app
