"""Asks another version the same, after a request is answered, and counts in how many rows both decide alike.

It never fails a caller, and never makes one wait: a few comparisons are under way at once, and the others are left out.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from sapflow.serving.bodies import JSON
from sapflow.serving.metrics import ServerMetrics
from sapflow.serving.served_model import agreement

AT_ONCE = 4
SECONDS = 5.0
MOST_BYTES = 4 << 20
"""Bytes of the other version's answer."""


class Comparison:
    """Compares with the version at a URL."""

    def __init__(
        self, url: Callable[[], str], token: Callable[[], str] | None, metrics: ServerMetrics
    ) -> None:
        """`url` gives http:// with a host, and a port if it is not 80; '' while there is no other version."""
        self._url, self._token, self._metrics = url, token, metrics
        self._asking: set[asyncio.Task[None]] = set()

    def ask(self, body: bytes, content_type: str, made: Sequence[Mapping[str, Any]]) -> None:
        """Compare what was decided on the rows of a body of `POST /predict` with what the other version decides."""
        if not self._url():
            return
        if len(self._asking) >= AT_ONCE:
            self._metrics.comparisons["left out"] += 1
            return
        task = asyncio.create_task(self._compare(body, content_type, made))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _compare(self, body: bytes, content_type: str, made: Sequence[Mapping[str, Any]]) -> None:
        try:
            async with asyncio.timeout(SECONDS):
                answer = await self._post(body, content_type or JSON)
            theirs = answer["decisions"]
            if len(theirs) != len(made):
                raise ValueError("another number of rows")
            alike = agreement(made, theirs)
        except (OSError, TimeoutError, EOFError, ValueError, KeyError, TypeError, AttributeError):
            self._metrics.comparisons["failed"] += 1
            return
        self._metrics.comparisons["compared"] += 1
        self._metrics.compared[True] += alike
        self._metrics.compared[False] += len(made) - alike

    async def _post(self, body: bytes, content_type: str) -> Any:
        """The JSON of the other version's answer. Raises OSError, EOFError, ValueError."""
        parts = urlsplit(self._url())
        host = parts.hostname or ""
        reader, writer = await asyncio.open_connection(host, parts.port or 80, limit=MOST_BYTES)
        try:
            token = f"Authorization: Bearer {self._token()}\r\n" if self._token is not None else ""
            kind = content_type.replace("\r", " ").replace("\n", " ")
            head = (
                f"POST /predict HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{token}Content-Type: {kind}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode("latin-1") + body)
            await writer.drain()
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            if lines[0].split(" ")[1:2] != ["200"]:
                raise ValueError(lines[0])
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (each.partition(":") for each in lines[1:])
            }
            if "content-length" in headers:
                length = int(headers["content-length"])
                if length > MOST_BYTES:
                    raise ValueError("the answer is too long")
                return json.loads(await reader.readexactly(length))
            return json.loads(await _chunks(reader))
        finally:
            writer.close()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A body that comes in chunks."""
    parts: list[bytes] = []
    size = 0
    while length := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        size += length
        if size > MOST_BYTES:
            raise ValueError("the answer is too long")
        parts.append(await reader.readexactly(length))
        await reader.readexactly(2)
    return b"".join(parts)
