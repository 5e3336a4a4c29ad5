"""Another version is asked the same after an answer: it never fails a caller, and agreement is counted by row."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sapflow.serving import compare
from sapflow.serving.compare import Comparison
from sapflow.serving.metrics import ServerMetrics
from sapflow.serving.served_model import agreement

MADE = [{"label": "yes"}, {"label": "no"}]
Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answer(content: bytes, head: str = "HTTP/1.1 200 OK") -> Answering:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + b"\r\n" + content)
        await writer.drain()
        writer.close()

    return serve


def with_length(value: Any) -> bytes:
    body = json.dumps(value).encode()
    return f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def compared(serve: Answering, count: int = 1, token: str | None = None) -> ServerMetrics:
    """The counters after so many comparisons with a server that answers so."""
    metrics = ServerMetrics()

    async def ask() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            given = None if token is None else lambda: token
            comparison = Comparison(lambda: f"http://127.0.0.1:{port}", given, metrics)
            for _ in range(count):
                comparison.ask(b"[]", "application/json", MADE)
            while metrics.comparisons.total() < count:
                await asyncio.sleep(0.005)

    asyncio.run(ask())
    return metrics


def test_rows_on_which_both_decide_alike_are_counted() -> None:
    metrics = compared(answer(with_length({"decisions": [{"label": "yes"}, {"label": "yes"}]})))
    assert metrics.compared == {True: 1, False: 1}
    assert metrics.comparisons == {"compared": 1}


def test_an_answer_in_chunks_is_read() -> None:
    body = json.dumps({"decisions": MADE}).encode()
    chunks = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (body[:9], body[9:]))
    metrics = compared(answer(b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"))
    assert metrics.compared[True] == 2


@pytest.mark.parametrize(
    "serve",
    [
        answer(with_length({"error": {}}), "HTTP/1.1 503 Unavailable"),
        answer(with_length({"decisions": [{}]})),
        answer(with_length([])),
        answer(b"Content-Length: 90\r\n\r\nshort"),
        answer(b"Content-Length: 99999999\r\n\r\n"),
        answer(b"", ""),
    ],
)
def test_what_is_no_answer_counts_as_failed_and_nothing_else(serve: Answering) -> None:
    metrics = compared(serve)
    assert metrics.comparisons == {"failed": 1}
    assert not metrics.compared


def test_nobody_is_asked_while_there_is_no_other_version() -> None:
    metrics, urls = ServerMetrics(), [""]

    async def ask() -> None:
        comparison = Comparison(lambda: urls[0], None, metrics)
        comparison.ask(b"[]", "", MADE)
        assert not comparison._asking
        urls[0] = "http://127.0.0.1:9"
        comparison.ask(b"[]", "", MADE)
        while not metrics.comparisons:
            await asyncio.sleep(0.005)

    asyncio.run(ask())
    assert metrics.comparisons == {"failed": 1}


def test_a_version_that_is_not_there_fails_nobody() -> None:
    metrics = ServerMetrics()

    async def ask() -> None:
        Comparison(lambda: "http://127.0.0.1:9", None, metrics).ask(b"[]", "", MADE)
        while not metrics.comparisons:
            await asyncio.sleep(0.005)

    asyncio.run(ask())
    assert metrics.comparisons == {"failed": 1}


def test_a_version_that_does_not_answer_is_given_up_and_others_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare, "SECONDS", 0.1)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    metrics = compared(silent, count=compare.AT_ONCE + 3)
    assert metrics.comparisons == {"left out": 3, "failed": compare.AT_ONCE}


def test_the_token_is_sent_along() -> None:
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n" + with_length({"decisions": MADE}))
        await writer.drain()
        writer.close()

    compared(serve, token="secret")
    assert b"Authorization: Bearer secret\r\n" in heads[0]


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"label": "a"}, {"label": "a", "probability": 0.2}, 1),
        ({"label": "a"}, {"label": "b"}, 0),
        ({"labels": [1, 2]}, {"labels": [1, 2]}, 1),
        ({"labels": [1, 2]}, {"labels": [1]}, 0),
        ({"value": 10.0}, {"value": 10.001}, 1),
        ({"value": 10.0}, {"value": 11.0}, 0),
        ({"values": [1, 2]}, {"values": [1, 2.0001]}, 1),
        ({"count": 2}, {"count": 3}, 0),
        ({"value": 1.0}, {}, 0),
    ],
)
def test_versions_agree_on_labels_and_nearly_on_values(one: Any, other: Any, alike: int) -> None:
    assert agreement([one], [other]) == alike
