"""Functions as Knative Services: the sender of a driver inside the cluster.

A call for which there is no instance waits in Knative's activator until one has started. This sender repeats calls
that no function has seen (the activator's queue was full, the gateway missing, the instance busy or stopping), so that
a job's own retries are used only for functions that fail.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import aiohttp
from yarl import URL

from sapflow.errors import InstanceLost, InvocationError
from sapflow.messages.headers import AGE_HEADER, MEMORY_HEADER, REVISION_HEADER, SECONDS_HEADER
from sapflow.quantities.roles import Role
from sapflow.runtimes import handover
from sapflow.runtimes.http.answer import encode, interpret, reason_of, timed_out
from sapflow.runtimes.http.repeated import pauses, repeated
from sapflow.runtimes.http.sender import Answer, open_session, post
from sapflow.runtimes.sender import Reply
from sapflow.runtimes.slots import Slots
from sapflow.runtimes.way import AWAY_SECONDS, Way

log = logging.getLogger(__name__)

START_SECONDS = 180.0
"""How long, beyond its time limit, a call may wait for an instance: a node may have to pull the image first."""
_UNSEEN_STATUSES = frozenset({404, 429, 503})
"""Statuses of proxies on the way: the route is not programmed yet, too many calls wait, or there is no instance."""
_REFUSED = (b"dial tcp ", b"connect: connection refused")
"""Of the words with which queue-proxy answers 502 while its function's container is down, killed or not started yet."""
_UNSEEN_REASONS = frozenset({"Busy", "ShuttingDown"})
"""Reasons of functions that did not begin to serve the call."""
_FIRST_PAUSE = 0.02
_CLOCKS = 0.05
"""Tolerance in seconds between a process's age and our wait for it, since it counts from before its imports."""


class KnativeSender:
    """A Sender with one Knative Service per role. It must be used and closed in one event loop."""

    def __init__(
        self,
        urls: Mapping[Role, str],
        token: Callable[[], str],
        *,
        instances: Mapping[Role, int],
        start_seconds: float = START_SECONDS,
    ) -> None:
        """`urls` end in `/invoke`; `token` returns the pool's current token.

        `instances` is each service's max-scale. More calls would wait in the activator, which serves them in no
        defined order, so they wait here instead. For `start_seconds` see START_SECONDS.
        """
        self._urls = {role: URL(url) for role, url in urls.items()}
        self._ways = {role: Way(url) for role, url in self._urls.items()}
        self._token = token
        self._slots = {role: Slots(count) for role, count in instances.items()}
        self._start_seconds = start_seconds
        self._session: aiohttp.ClientSession | None = None
        self._knocking: list[asyncio.Task[None]] = []
        self._closed = False

    async def invoke(self, role: Role, request: Mapping[str, Any], *, seconds: float) -> Reply:
        """See Sender.invoke. The reply's `seconds` are those of the handler; the rest counts as start or queue."""
        asked = time.monotonic()
        slots = self._slots[role]
        await slots.acquire(urgent=False, job=str(request.get("job", "")))
        try:
            sent = time.monotonic()
            answer = await self._until_seen(role, request, seconds, sent + seconds + self._start_seconds)
            received = time.monotonic()
        finally:
            slots.release()
        body = interpret(request, answer.status, answer.content)
        return account(body, answer.headers, waited=sent - asked, elapsed=received - sent)

    def start(self, counts: Mapping[Role, int]) -> None:
        """Start instances before many calls need them at once. It never fails, but may have no effect."""
        urls = [
            self._urls[role].with_path("/healthz") for role, count in counts.items() for _ in range(count)
        ]
        self._knocking += [asyncio.create_task(self._knock(url)) for url in urls]

    async def _knock(self, url: URL) -> None:
        """Send requests until a function has answered, because at first the gateway may not have the route."""
        with suppress(TimeoutError, InvocationError):
            async with asyncio.timeout(self._start_seconds):
                for pause in pauses(_FIRST_PAUSE):
                    with suppress(aiohttp.ClientError):
                        async with self._open().get(url) as response:
                            if response.status not in _UNSEEN_STATUSES:
                                return
                    await asyncio.sleep(pause)

    async def close(self) -> None:
        """Close the connections; Knative ends the instances. Calls in flight end with an error."""
        self._closed = True
        for task in self._knocking:
            task.cancel()
        await asyncio.gather(*self._knocking, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _until_seen(
        self, role: Role, request: Mapping[str, Any], seconds: float, deadline: float
    ) -> Answer:
        """The answer of a function to a request, which is repeated until a function sees it or `deadline` passes."""
        way, body = self._ways[role], encode(request, seconds)

        async def attempt() -> Answer:
            headers = {"Authorization": f"Bearer {self._token()}"}
            left = deadline - time.monotonic()
            url = way.choose()
            handover.begins()
            try:
                answer = await post(self._open(), url, request, body, seconds=left, headers=headers)
            except TimeoutError as error:
                raise timed_out(request, seconds) from error
            except InstanceLost as error:
                self._stray(way, url, str(error))
                raise
            finally:
                way.ended(url)
            if way.is_straight(url) and _unseen(answer):
                way.forget()
            elif way.is_straight(url) and not _of_function(answer):
                self._stray(way, url, f"HTTP {answer.status}")
                return replace(answer, status=503)
            way.answered(url, answer.headers.get(REVISION_HEADER))
            return answer

        return await repeated(
            attempt, seen=lambda answer: not _unseen(answer), deadline=deadline, first_pause=_FIRST_PAUSE
        )

    def _stray(self, way: Way, url: URL, why: str) -> None:
        """Take note of a call that no function has answered."""
        if way.failed(url):
            log.warning("calls to %s take the gateway for %d seconds: %s", url.origin(), AWAY_SECONDS, why)

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise InvocationError("the sender is closed", reason="Closed")
        if self._session is None:
            self._session = open_session(aiohttp.TCPConnector(limit=0))
        return self._session


def _unseen(answer: Answer) -> bool:
    """Whether no function has begun to serve the call."""
    if answer.status == 502 and all(each in answer.content for each in _REFUSED):
        return True
    if answer.status not in _UNSEEN_STATUSES:
        return False
    reason = reason_of(answer.content)
    return reason is None or reason in _UNSEEN_REASONS


def _of_function(answer: Answer) -> bool:
    """Whether a function has answered, and not what stands before it and may let in nobody but the gateway."""
    return SECONDS_HEADER in answer.headers or reason_of(answer.content) is not None


def account(body: dict[str, Any], headers: Mapping[str, str], *, waited: float, elapsed: float) -> Reply:
    """The reply to a call that `waited` seconds to be sent and was answered `took` seconds later.

    If the instance is younger than the call, it was started for this call, and all time outside of its handler was the
    start. Otherwise that time was transport, or waiting for a free instance.
    """
    handler = _number(headers, SECONDS_HEADER)
    age = _number(headers, AGE_HEADER)
    memory = _number(headers, MEMORY_HEADER)
    seconds = elapsed if handler is None else min(handler, elapsed)
    rest = elapsed - seconds
    cold = age is not None and age <= rest + _CLOCKS
    return Reply(
        body,
        seconds,
        cold_seconds=rest if cold else 0.0,
        queue_seconds=waited if cold else waited + rest,
        memory_bytes=None if memory is None else int(memory),
    )


def _number(headers: Mapping[str, str], name: str) -> float | None:
    try:
        return float(headers[name])
    except (KeyError, ValueError):
        return None
