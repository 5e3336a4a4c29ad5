"""Invocations over HTTP to an address that somebody else serves: aiohttp, with its connection pool."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
from yarl import URL

from sapflow.errors import InstanceLost, InvocationError
from sapflow.http_answer import describe, encode, interpret, timed_out
from sapflow.invoke import Reply


def open_session(connector: aiohttp.BaseConnector, token: str) -> aiohttp.ClientSession:
    """A session for `post_invoke` that does only what an invocation needs: no cookies, no decompression."""
    return aiohttp.ClientSession(
        connector=connector,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def post_invoke(
    session: aiohttp.ClientSession,
    url: URL,
    request: Mapping[str, Any],
    *,
    seconds: float,
    grace: float = 0.5,
) -> Reply:
    """POST one request and wait `seconds` + `grace` for its answer; cold and queue seconds of the reply are 0.

    The session carries the token (`open_session`). Raises InvocationError and its children as `Sender.invoke` says;
    what a proxy answers of its own (503, 429 …), a refused and a lost connection are retryable.
    """
    body = encode(request, seconds)
    started = time.perf_counter()
    try:
        async with asyncio.timeout(seconds + grace), session.post(url, data=body) as response:
            status = response.status
            content = await response.read()
    except TimeoutError as error:
        raise timed_out(request, seconds) from error
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        raise InstanceLost(f"{describe(request)}: the connection to the function failed: {error}") from error
    except aiohttp.ClientError as error:
        raise InvocationError(f"{describe(request)}: the function's answer is no HTTP: {error}") from error
    elapsed = time.perf_counter() - started
    return Reply(interpret(request, status, content), elapsed, cold_seconds=0.0, queue_seconds=0.0)
