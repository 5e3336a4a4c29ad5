"""The Open Inference Protocol over gRPC, beside HTTP in the same process and over the same model."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

import grpc

from sapflow import logs
from sapflow.serving import grpc_messages, v2, wire
from sapflow.serving.grpc_messages import SERVICE, ModelName
from sapflow.serving.refusal import Refused
from sapflow.serving.server import Server

logger = logging.getLogger("sapflow.server")
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_OPEN = ("ServerLive", "ServerReady")
GRACE_SECONDS = 10.0
CALLER_LEFT = 499
"""The status that a request is counted with whose caller did not wait for the answer."""
HEALTH_SERVICE = "grpc.health.v1.Health"
"""What kubelets, Knative and proxies ask (grpc/health/v1/health.proto)."""
_SERVING, _NOT_SERVING = 1, 2

Method = Callable[[bytes], Awaitable[bytes]]


class GrpcServer:
    """Serves one model. Use it as an async context manager."""

    def __init__(self, server: Server, host: str, port: int) -> None:
        self._server, self._address = server, f"{host}:{port}"
        self._methods: dict[str, Method] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._infer,
        }
        self._grpc: grpc.aio.Server | None = None
        self.port = port

    async def __aenter__(self) -> "GrpcServer":
        """Listen. Raises RuntimeError where the port is taken."""
        options = [
            ("grpc.max_receive_message_length", self._server.limits.body_bytes),
            ("grpc.so_reuseport", 0),
        ]
        self._grpc = grpc.aio.server(options=options)
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(self._served(name, method))
            for name, method in self._methods.items()
        }
        health = {"Check": grpc.unary_unary_rpc_method_handler(self._check)}
        self._grpc.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(SERVICE, handlers),
                grpc.method_handlers_generic_handler(HEALTH_SERVICE, health),
            )
        )
        self.port = self._grpc.add_insecure_port(self._address)
        await self._grpc.start()
        logs.event(logger, logging.INFO, "listening", protocol="grpc", port=self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._grpc is not None:
            await self._grpc.stop(GRACE_SECONDS)

    def _served(
        self, name: str, method: Method
    ) -> Callable[[bytes, "grpc.aio.ServicerContext[bytes, bytes]"], Awaitable[bytes]]:
        async def serve(request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
            began, metrics, status = time.perf_counter(), self._server.metrics, 500
            metrics.in_flight += 1
            try:
                if name not in _OPEN:
                    given = {str(key): value for key, value in context.invocation_metadata() or ()}
                    self._server.check_caller(str(given.get("authorization", "")))
                answer = await method(request)
                status = 200
                return answer
            except asyncio.CancelledError:
                # The caller has given up, or its deadline is over: no fault of the server's.
                status = CALLER_LEFT
                raise
            except Refused as refused:
                status = refused.status
                await context.abort(_CODES.get(status, grpc.StatusCode.UNKNOWN), str(refused))
                raise AssertionError("abort raises") from refused
            finally:
                metrics.in_flight -= 1
                seconds = time.perf_counter() - began
                metrics.answered(f"grpc{name}", status, seconds)
                if name not in _OPEN:
                    logs.event(
                        logger,
                        logging.INFO,
                        "request",
                        route=f"grpc{name}",
                        status=status,
                        seconds=round(seconds, 6),
                    )

        return serve

    async def _check(self, request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        """A HealthCheckResponse, of the process as a whole, whichever service was named."""
        return wire.number(1, _SERVING if self._server.ready else _NOT_SERVING)

    async def _live(self, request: bytes) -> bytes:
        return grpc_messages.truth(True)

    async def _ready(self, request: bytes) -> bytes:
        return grpc_messages.truth(self._server.ready)

    async def _model_ready(self, request: bytes) -> bytes:
        asked = grpc_messages.model_name(request)
        self._server.check_model(asked.name, asked.version)
        return grpc_messages.truth(self._server.ready)

    async def _server_metadata(self, request: bytes) -> bytes:
        return grpc_messages.server_metadata(self._server.server_metadata())

    async def _model_metadata(self, request: bytes) -> bytes:
        asked = grpc_messages.model_name(request)
        self._server.check_model(asked.name, asked.version)
        return grpc_messages.model_metadata(self._server.model_metadata())

    async def _infer(self, request: bytes) -> bytes:
        server = self._server
        call = grpc_messages.infer_call(request)
        server.check_model(call.model.name, call.model.version)
        rows = v2.rows_of(call.arrays, server.model.table, server.limits.rows)
        server.check_ready()
        made = await server.decide(rows)
        own = ModelName(server.identity.name, server.identity.version)
        return grpc_messages.infer_answer(own, call, server.tensors(made))
