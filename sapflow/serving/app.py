"""The web application of a serving process, as plain ASGI: routes, tokens, limits, request ids, logs and metrics."""

import json
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from sapflow import logs
from sapflow.serving import bodies, openapi, v2
from sapflow.serving.compare import Comparison
from sapflow.serving.http import HttpAnswer, HttpRequest, Receive, Scope, Send
from sapflow.serving.refusal import Refused
from sapflow.serving.server import Server

logger = logging.getLogger("sapflow.server")
REQUEST_ID = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(?:/(infer|ready|config))?")
OPEN = ("live", "ready", "metrics")
"""Routes that need no token: probes and Prometheus ask them."""

Handler = Callable[[HttpRequest], Awaitable[HttpAnswer]]


@dataclass(frozen=True, slots=True)
class _Route:
    """What serves a path. `name` is what metrics and logs call it."""

    name: str
    method: str
    handler: Handler


class App:
    """Serves one model."""

    def __init__(self, server: Server, comparison: Comparison | None = None) -> None:
        """`comparison` asks another version the same, after the answer."""
        self.server, self._comparison = server, comparison
        self._routes: Mapping[str, _Route] = {
            "/healthz": _Route("live", "GET", self._live),
            "/v2/health/live": _Route("live", "GET", self._live),
            "/v2/health/ready": _Route("ready", "GET", self._ready),
            "/metrics": _Route("metrics", "GET", self._metrics),
            "/v2": _Route("server", "GET", self._server),
            "/v2/": _Route("server", "GET", self._server),
            "/predict": _Route("predict", "POST", self._predict),
            "/openapi.json": _Route("openapi", "GET", self._openapi),
            "/": _Route("docs", "GET", self._docs),
            "/docs": _Route("docs", "GET", self._docs),
        }
        self._of_model = {
            None: _Route("metadata", "GET", self._metadata),
            "ready": _Route("modelReady", "GET", self._ready),
            "config": _Route("config", "GET", self._config),
            "infer": _Route("infer", "POST", self._infer),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request; there are no others than those of HTTP."""
        if scope["type"] != "http":
            raise ValueError(f"the server serves HTTP, not {scope['type']}")
        began, metrics = time.perf_counter(), self.server.metrics
        request = HttpRequest.of(scope, receive)
        given = request.headers.get(REQUEST_ID, "")
        ident = given if _ID.fullmatch(given) else uuid.uuid4().hex
        name = "unknown"
        metrics.in_flight += 1
        try:
            route = self._found(request)
            name = route.name
            answer = await self._guarded(route, request)
        except Refused as refused:
            answer = _error(refused, in_v2=request.path.startswith("/v2"))
        except Exception:
            # Whatever a model of a user's own raises is the server's fault, which a canary must count.
            metrics.answered(name, 500, time.perf_counter() - began)
            logs.event(logger, logging.ERROR, "request failed", id=ident, route=name, status=500)
            await _failed(ident, in_v2=request.path.startswith("/v2")).send(send)
            raise
        finally:
            metrics.in_flight -= 1
        answer = replace(answer, headers={**answer.headers, REQUEST_ID: ident})
        await answer.send(send, head_only=request.method == "HEAD")
        seconds = time.perf_counter() - began
        metrics.answered(name, answer.status, seconds)
        if name not in OPEN:
            logs.event(
                logger,
                logging.INFO,
                "request",
                id=ident,
                route=name,
                status=answer.status,
                seconds=round(seconds, 6),
                bytes=len(answer.body),
            )

    def _found(self, request: HttpRequest) -> _Route:
        """The route of a request. Raises Refused where there is none."""
        route = self._routes.get(request.path)
        if route is None and (parts := _MODEL.fullmatch(request.path)) is not None:
            self.server.check_model(parts[1], parts[2])
            route = self._of_model[parts[3]]
        if route is None:
            raise Refused(404, "NotFound", f"there is nothing at {request.path}; GET / tells what there is")
        method = "GET" if request.method == "HEAD" else request.method
        if method != route.method:
            raise Refused(
                405, "MethodNotAllowed", f"{request.path} is asked by {route.method}, not {request.method}"
            )
        return route

    async def _guarded(self, route: _Route, request: HttpRequest) -> HttpAnswer:
        server = self.server
        if route.name in OPEN:
            return await route.handler(request)
        server.check_caller(request.headers.get("authorization", ""))
        return await route.handler(request)

    async def _predict(self, request: HttpRequest) -> HttpAnswer:
        server = self.server
        body = await request.body(server.limits.body_bytes)
        kind = request.headers.get("content-type", "")
        rows = bodies.rows_of(body, kind, server.model.table, server.limits.rows)
        server.check_ready()
        made = await server.decide(rows)
        own = server.identity
        if self._comparison is not None:
            self._comparison.ask(body, kind, made)
        return HttpAnswer.json({"model": own.name, "version": own.version, "decisions": made})

    async def _infer(self, request: HttpRequest) -> HttpAnswer:
        server = self.server
        body = await request.body(server.limits.body_bytes)
        found = v2.parse(body, request.headers.get(v2.HEADER_LENGTH), server.model.table, server.limits.rows)
        server.check_ready()
        made = await server.decide(found.rows)
        content, headers = v2.answer(
            server.identity.name, server.identity.version, found, server.tensors(made)
        )
        return HttpAnswer(200, content, headers)

    async def _live(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer.json({"live": True})

    async def _ready(self, request: HttpRequest) -> HttpAnswer:
        ready = self.server.ready
        return HttpAnswer.json({"name": self.server.identity.name, "ready": ready}, 200 if ready else 503)

    async def _metrics(self, request: HttpRequest) -> HttpAnswer:
        kind = {"content-type": "text/plain; version=0.0.4; charset=utf-8"}
        return HttpAnswer(200, self.server.metrics_text().encode(), kind)

    async def _server(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer.json(self.server.server_metadata())

    async def _metadata(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer.json(self.server.model_metadata())

    async def _config(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer.json(self.server.model_config())

    async def _openapi(self, request: HttpRequest) -> HttpAnswer:
        return HttpAnswer.json(openapi.document(self.server))

    async def _docs(self, request: HttpRequest) -> HttpAnswer:
        page = openapi.page(self.server).encode()
        return HttpAnswer(200, page, {"content-type": "text/html; charset=utf-8"})


def _failed(ident: str, *, in_v2: bool) -> HttpAnswer:
    """The answer to a request that the server has failed at."""
    message = f"the server failed; its log has the request {ident}"
    error: object = message if in_v2 else {"reason": "Internal", "message": message, "retryable": False}
    return HttpAnswer.json({"error": error}, 500, {REQUEST_ID: ident})


def _error(refused: Refused, *, in_v2: bool) -> HttpAnswer:
    """The answer to a refused request. In the Open Inference Protocol an error is a text."""
    headers = {"retry-after": "1"} if refused.retryable else {}
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    if in_v2:
        return HttpAnswer.json({"error": str(refused)}, refused.status, headers)
    error: dict[str, object] = {
        "reason": refused.reason,
        "message": str(refused),
        "retryable": refused.retryable,
    }
    if refused.rows:
        error["rows"] = [
            {"row": each.row, "column": each.column, "reason": each.reason} for each in refused.rows
        ]
    return HttpAnswer(
        refused.status, json.dumps({"error": error}).encode(), {"content-type": bodies.JSON, **headers}
    )
