"""Invocations over HTTP to a remote address, with aiohttp and its connection pool."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import aiohttp
from yarl import URL

from sapflow.errors import InstanceLost, InvocationError
from sapflow.runtimes.http.answer import describe, encode, interpret, timed_out
from sapflow.runtimes.sender import Reply

CONNECT_SECONDS = 5.0
READ_BYTES = 2**21
"""An answer of this size is read without a pause; by default aiohttp stops and starts the connection at 128 kB."""


class NotConnected(InstanceLost):
    """The connection could not be made, so no function has seen the request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is not interpreted yet."""

    status: int
    content: bytes
    headers: Mapping[str, str]


def open_session(connector: aiohttp.BaseConnector, token: str | None = None) -> aiohttp.ClientSession:
    """A session for `post`, reduced to what an invocation needs: without cookies and decompression."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=READ_BYTES,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
    )


async def post(
    session: aiohttp.ClientSession,
    url: URL,
    request: Mapping[str, Any],
    body: bytes,
    *,
    seconds: float,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Answer:
    """POST the body and wait `seconds` for an answer of any kind; `request` is used in messages.

    Raises TimeoutError, NotConnected, InstanceLost if the connection broke, and InvocationError if the answer is not
    HTTP.
    """
    try:
        async with asyncio.timeout(seconds), session.post(url, data=body, headers=headers) as response:
            return Answer(response.status, await response.read(), response.headers)
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
        raise NotConnected(f"{describe(request)}: no connection to {url.origin()}: {error}") from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        raise InstanceLost(f"{describe(request)}: the connection to the function failed: {error}") from error
    except aiohttp.ClientError as error:
        raise InvocationError(f"{describe(request)}: the function's answer is no HTTP: {error}") from error


async def post_invoke(
    session: aiohttp.ClientSession,
    url: URL,
    request: Mapping[str, Any],
    *,
    seconds: float,
    grace: float = 0.5,
) -> Reply:
    """POST one request and wait `seconds` + `grace` for its answer; cold and queue seconds of the reply are 0.

    The session carries the token (`open_session`). Raises InvocationError and its children like `Sender.invoke`.
    Answers of proxies (503, 429 …) and refused or lost connections are retryable.
    """
    body = encode(request, seconds)
    started = time.perf_counter()
    try:
        answer = await post(session, url, request, body, seconds=seconds + grace)
    except TimeoutError as error:
        raise timed_out(request, seconds) from error
    elapsed = time.perf_counter() - started
    return Reply(
        interpret(request, answer.status, answer.content), elapsed, cold_seconds=0.0, queue_seconds=0.0
    )
