"""Calls of a role's handlers and their answers, for both HTTP contracts."""

import asyncio
import hmac
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from sapflow import logs
from sapflow.channels.channels import open_channels
from sapflow.errors import DataError, SapflowError, SpecError
from sapflow.messages import frames
from sapflow.messages.headers import AGE_HEADER, MEMORY_HEADER, REVISION_HEADER, SECONDS_HEADER
from sapflow.messages.replies import FunctionReply
from sapflow.objects.stores.cell import CellStore
from sapflow.objects.stores.protocol import Store
from sapflow.tracebacks import own_traceback, raised
from sapflow_functions.metrics import Metrics
from sapflow_functions.runner import Context, Handler, Runner

HANG_UP_WATCH_SECONDS = 0.25
"""Only calls that take longer than this are watched for a caller that disconnects, so short ones cost nothing."""

HUNG = 70
"""Exit code of a process whose handler did not come to an end: EX_SOFTWARE of sysexits.h."""

logger = logging.getLogger("sapflow.function")

Encode = Callable[[Mapping[str, Any]], bytes]


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON body. `expected` is False if the function itself, not the request, is at fault."""

    status: int
    body: bytes
    outcome: str
    expected: bool = True
    headers: Mapping[str, str] | None = None

    @classmethod
    def error(
        cls, status: int, reason: str, message: str, *, retryable: bool = False, expected: bool = True
    ) -> "Answer":
        error = {"reason": reason, "message": message, "retryable": retryable}
        return cls(status, json.dumps({"error": error}).encode(), reason, expected)

    def response(self) -> Response:
        return Response(self.body, self.status, self.headers, media_type="application/json")


UNAUTHORIZED = Answer.error(401, "Unauthorized", "the call does not carry its pool's token")
BUSY = Answer.error(
    429, "Busy", "a call is at work in this instance; send the request to another", retryable=True
)
STOPPING = Answer.error(
    503, "ShuttingDown", "the instance is shutting down; send the request again", retryable=True
)
NOT_CONFIGURED = Answer.error(
    502,
    "NotConfigured",
    "the process of this container was started anew, and only `/init` tells it its store; send the request again",
    retryable=True,
)


MOST_TRACEBACK = 4096
"""Characters of a traceback in an answer."""


class Function:
    """The handlers of a role, run by one thread."""

    def __init__(
        self,
        role: str,
        handlers: Mapping[str, Handler],
        token: Callable[[], str],
        store: Store | None,
        born: float,
        memory_bytes: int | None = None,
        *,
        grace_seconds: float = 20.0,
        runs_on: bool = False,
        revision: str | None = None,
    ) -> None:
        """`token` returns '' and `store` is None until `configure` is called. `born` is time.monotonic() at the start.
        `memory_bytes` is the memory limit, which every answer reports. A handler that is at work `grace_seconds`
        after its deadline hangs, and the process ends: it would answer Busy for ever and look well. `runs_on`: the
        process runs between calls. `revision` is the Knative Revision of the instance, which every answer names."""
        self.role = role
        self.metrics = Metrics(role)
        self._handlers = handlers
        self._token = token
        self._store = store
        self._born = born
        self._memory_bytes, self._runs_on = memory_bytes, runs_on
        self._told = {} if memory_bytes is None else {MEMORY_HEADER: str(memory_bytes)}
        if revision is not None:
            self._told[REVISION_HEADER] = revision
        self._grace = grace_seconds
        self._called = False
        self._runner = Runner()
        self._current: Context | None = None
        self._stopping = False

    @property
    def busy(self) -> bool:
        return self._runner.busy

    @property
    def configured(self) -> bool:
        """Whether the function has a store; before that, it answers no call."""
        return self._store is not None

    def configure(self, token: Callable[[], str], store: Store) -> None:
        """From now on, answer calls that carry the token, on this store."""
        self._token, self._store = token, store

    def holds_token(self, token: str) -> bool:
        expected = self._token()
        return bool(expected) and hmac.compare_digest(token.encode(), expected.encode())

    def stop(self) -> None:
        """Ask the current call, if any, to give up, and accept no other."""
        self._stopping = True
        if self._current is not None:
            self._current.cancelled.set()

    async def call(
        self, request: object, deadline: float, http: Request, encode: Encode = frames.encode
    ) -> Answer:
        """Run the handler that `request["op"]` names, until `deadline` (time.monotonic()).

        The request may have attachments (`sapflow.messages.frames`). `encode` turns the answer's message into bytes.

        The caller must have checked the token. The answer's headers have the handler's seconds, and in the first call
        also the age of the process at its arrival, from which the sender learns how long the start took.
        """
        if self._stopping:
            return STOPPING
        if self._store is None:
            return NOT_CONFIGURED
        if self._runner.busy:
            return BUSY
        if not isinstance(request, dict):
            return Answer.error(400, "BadRequest", "the request is no JSON object")
        op = request.get("op")
        handler = self._handlers.get(op) if isinstance(op, str) else None
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            return Answer.error(
                404, "UnknownOperation", f"a {self.role} has no operation {op!r}; it has: {known}"
            )
        seconds = request.get("secondsLeft", math.inf)
        if not isinstance(seconds, int | float) or not seconds > 0:
            return Answer.error(400, "BadRequest", f"secondsLeft is {seconds!r}: give seconds above 0")
        if isinstance(self._store, CellStore) and request.get("cell", self._store.cell) != self._store.cell:
            message = f"the request is for cell {request['cell']}, and this is cell {self._store.cell}"
            return Answer.error(421, "WrongCell", message)
        arrived = time.monotonic()
        channels = open_channels(self._store, request.pop(frames.ATTACHMENTS, None) or {})
        until = min(deadline, arrived + seconds)
        context = Context(self._store, channels, until, self._memory_bytes, self._runs_on)
        self._current = context
        headers = dict(self._told)
        if not self._called:
            headers[AGE_HEADER] = f"{arrived - self._born:.6f}"
        self._called = True
        loop = asyncio.get_running_loop()
        watch = loop.call_later(HANG_UP_WATCH_SECONDS, _HangUp(http, context).start)
        overdue = None
        if math.isfinite(context.deadline):
            overdue = loop.call_later(context.deadline + self._grace - arrived, _end, str(op), arrived)
        try:
            answer = await self._runner.run(partial(self._work, handler, request, context, encode))
            headers[SECONDS_HEADER] = f"{time.monotonic() - arrived:.6f}"
            return replace(answer, headers=headers)
        finally:
            watch.cancel()
            if overdue is not None:
                overdue.cancel()

    def _work(self, handler: Handler, request: dict[str, Any], context: Context, encode: Encode) -> Answer:
        started = time.perf_counter()
        # Only here every exception is caught: whatever a handler raises must become an answer, and the
        # thread must survive for the next call.
        try:
            reply = handler(request, context)
            if isinstance(context.store, CellStore) and isinstance(reply, FunctionReply):
                reply = settle_cell(context.store, request, reply)
            answer = Answer(200, encode(with_attachments(reply.body(), context)), "ok")
        except Exception as error:  # noqa: BLE001
            answer = translate(error)
        seconds = time.perf_counter() - started
        op = request["op"]
        self.metrics.record(op, answer.outcome, seconds)
        level = logging.INFO if answer.expected else logging.ERROR
        if logger.isEnabledFor(level):
            fields = {key: request[key] for key in ("job", "version", "rank", "attempt") if key in request}
            logs.event(
                logger,
                level,
                "invocation",
                op=op,
                seconds=round(seconds, 6),
                outcome=answer.outcome,
                **fields,
            )
        return answer


def _end(op: str, arrived: float) -> None:
    """End a process whose handler does not come to an end; the platform starts another."""
    seconds = round(time.monotonic() - arrived, 3)
    logs.event(logger, logging.ERROR, "the handler hangs, so the process ends", op=op, seconds=seconds)
    os._exit(HUNG)


def with_attachments(body: dict[str, Any], context: Context) -> dict[str, Any]:
    """The answer's message with the inline contributions that the handler has written."""
    return {**body, frames.ATTACHMENTS: context.channels.sent} if context.channels.sent else body


def settle_cell(store: CellStore, request: dict[str, Any], reply: FunctionReply) -> FunctionReply:
    """Remove the objects of the cell that the driver says are not needed, and add the bytes through the store and the
    node to the answer."""
    store.collect(request.get("collect", ()))
    passed = store.take_passed()
    moved = reply.bytes.model_copy(update={"store_read": passed.read, "store_written": passed.written})
    return reply.model_copy(update={"bytes": moved, "node": store.node or None})


class _HangUp:
    """Cancels a call if its caller closes the connection."""

    def __init__(self, http: Request, context: Context) -> None:
        self._http = http
        self._context = context
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.ensure_future(self._wait())

    async def _wait(self) -> None:
        # The body has been read. The next message comes when the answer is sent or the caller has disconnected, and
        # cancelling an answered call has no effect.
        await self._http.receive()
        self._context.cancelled.set()


def translate(error: Exception) -> Answer:
    """The answer for an exception of a handler: 4xx if the caller is at fault, 503 if it may try again, else 500."""
    if isinstance(error, SpecError | DataError):
        return Answer.error(422, error.reason, str(error))
    if isinstance(error, ValidationError):
        where = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)
        )
        return Answer.error(422, "InvalidRequest", f"the request does not fit its operation: {where}")
    if isinstance(error, SapflowError):
        return Answer.error(
            503 if error.retryable else 500, error.reason, str(error), retryable=error.retryable
        )
    if isinstance(error, MemoryError):
        return Answer.error(500, "OutOfMemory", f"an allocation failed: {error}", expected=False)
    logs.event(logger, logging.ERROR, "unexpected error", error=True)
    # The first line stands for itself: where only one line is shown, the traceback is cut off.
    message = f"{raised(error)}\n{own_traceback(error)[-MOST_TRACEBACK:]}"
    return Answer.error(500, "Internal", message, expected=False)
