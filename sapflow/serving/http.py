"""Requests and answers as ASGI has them, with bodies of a bounded size."""

import json
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from sapflow.serving.refusal import Refused, bad_request

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request whose body may not be there yet."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case names."""
    receive: Receive

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> "HttpRequest":
        """The request of an ASGI scope."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        return cls(scope["method"], scope["path"], headers, receive)

    async def body(self, most: int) -> bytes:
        """The body, decompressed if it is compressed. Raises Refused if it has more than `most` bytes."""
        length = self.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            raise _too_large(most)
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise bad_request("the connection was closed before the body's end")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise _too_large(most)
            if not message.get("more_body"):
                return _decompressed(b"".join(parts), self.headers.get("content-encoding", ""), most)


def _too_large(most: int) -> Refused:
    return Refused(
        413,
        "BodyTooLarge",
        f"the body has more than {most:,} bytes (limits.bodyBytes): send fewer rows at once",
    )


def _decompressed(body: bytes, encoding: str, most: int) -> bytes:
    kind = encoding.strip().lower()
    if kind in ("", "identity"):
        return body
    if kind not in ("gzip", "deflate"):
        raise Refused(
            415, "UnsupportedEncoding", f"the content encoding is {encoding!r}: send gzip, deflate or none"
        )
    decoder = zlib.decompressobj(wbits=31 if kind == "gzip" else 15)
    try:
        found = decoder.decompress(body, most + 1)
    except zlib.error as error:
        raise bad_request(f"the body is no {kind}: {error}") from error
    if len(found) > most:
        raise _too_large(most)
    if not decoder.eof:
        raise bad_request(f"the body is no complete {kind}")
    return found


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status, a body and headers."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> "HttpAnswer":
        """An answer of JSON."""
        body = json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
        return cls(status, body, {"content-type": "application/json", **(headers or {})})

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Send it by ASGI."""
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head_only else self.body})
