"""Invocations over HTTP: both clients against a real function, and what other answers mean."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from function_process import TOKEN, FunctionProcess
from yarl import URL

from sapflow.errors import InstanceLost, InvocationError, InvocationTimeout, OutOfMemory
from sapflow.runtimes.http.answer import encode, interpret
from sapflow.runtimes.http.connection import HttpConnection
from sapflow.runtimes.http.sender import open_session, post_invoke
from sapflow.runtimes.sender import Reply

URL_OF_FUNCTION = URL("http://localhost/invoke")


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionProcess]:
    with FunctionProcess(tmp_path_factory.mktemp("store")) as function:
        yield function


def send(
    function: FunctionProcess, request: dict[str, Any], seconds: float = 30, token: str = TOKEN
) -> Reply:
    async def call() -> Reply:
        async with open_session(aiohttp.UnixConnector(function.socket_path), token) as session:
            return await post_invoke(session, URL_OF_FUNCTION, request, seconds=seconds)

    return asyncio.run(call())


def test_sends_a_request_with_its_seconds_left_and_returns_the_answer(function: FunctionProcess) -> None:
    assert send(function, {"op": "noop", "rank": 1}).body == {"pid": function.process.pid, "rank": 1}
    reply = send(function, {"op": "environment", "secondsLeft": 900}, seconds=20)
    assert 0 < reply.body["secondsLeft"] <= 20
    assert reply.seconds > 0


def test_a_wrong_token_is_an_error_that_a_retry_cannot_help(function: FunctionProcess) -> None:
    with pytest.raises(InvocationError) as caught:
        send(function, {"op": "noop"}, token="another")
    assert (caught.value.reason, caught.value.retryable) == ("Unauthorized", False)


def test_no_answer_in_time_is_a_timeout(function: FunctionProcess) -> None:
    with pytest.raises(InvocationTimeout, match=r"wait version 2: no answer within 0\.05 s"):
        send(function, {"op": "wait", "version": 2}, seconds=0.05)
    while function.invoke(op="noop")[0] == 429:
        pass


def test_a_refused_connection_may_be_tried_again() -> None:
    async def call() -> None:
        async with open_session(aiohttp.TCPConnector(), TOKEN) as session:
            await post_invoke(session, URL("http://127.0.0.1:1/invoke"), {"op": "noop"}, seconds=5)

    with pytest.raises(InstanceLost) as caught:
        asyncio.run(call())
    assert caught.value.retryable


def test_a_function_that_dies_at_work_is_lost(tmp_path_factory: pytest.TempPathFactory) -> None:
    with FunctionProcess(tmp_path_factory.mktemp("store")) as mortal, pytest.raises(InstanceLost):
        send(mortal, {"op": "crash"})


@pytest.mark.parametrize(
    ("status", "content", "error", "reason", "retryable"),
    [
        (503, b"activator overload", InvocationError, "Unavailable", True),
        (429, b"", InvocationError, "Unavailable", True),
        (502, b"<html>", InvocationError, "Unavailable", True),
        (404, b"no such host", InvocationError, "InvocationFailed", False),
        (200, b"<html>", InvocationError, "InvocationFailed", False),
        (200, b"[]", InvocationError, "InvocationFailed", False),
        (500, b'{"error": "text"}', InvocationError, "InvocationFailed", False),
        (500, b'{"error": {"reason": "OutOfMemory", "retryable": false}}', OutOfMemory, "OutOfMemory", False),
        (503, b'{"error": {"reason": "StoreUnavailable", "message": "m", "retryable": true}}',
         InvocationError, "StoreUnavailable", True),
    ],
)  # fmt: skip
def test_what_answers_mean(
    status: int, content: bytes, error: type[InvocationError], reason: str, retryable: bool
) -> None:
    with pytest.raises(error, match="merge version 5") as caught:
        interpret({"op": "merge", "version": 5}, status, content)
    assert (caught.value.reason, caught.value.retryable) == (reason, retryable)


def test_a_kept_connection_serves_one_call_after_another(function: FunctionProcess) -> None:
    async def test() -> None:
        connection = await HttpConnection.open_unix(function.socket_path, TOKEN)
        for rank in range(20):
            status, content = await connection.post(encode({"op": "noop", "rank": rank}, 5))
            assert interpret({}, status, content)["rank"] == rank
        status, content = await connection.post(b"{")
        assert status == 400
        connection.close()
        with pytest.raises(ConnectionError):
            await connection.post(b"{}")

    asyncio.run(test())


def answer_of_server(*pieces: bytes) -> tuple[int, bytes]:
    """What HttpConnection makes of a server that answers any request with these pieces and hangs up."""

    finished = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        for piece in pieces:
            writer.write(piece)
            with suppress(ConnectionError):
                await writer.drain()
            # Another packet.
            await asyncio.sleep(0.01)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        finished.set()

    async def call() -> tuple[int, bytes]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            connection = await HttpConnection.open_tcp(server.sockets[0].getsockname()[1], TOKEN)
            try:
                return await connection.post(b"{}")
            finally:
                connection.close()
                await finished.wait()

    return asyncio.run(call())


def test_an_answer_may_come_in_any_pieces() -> None:
    assert answer_of_server(b"HTTP/1.1 200 O", b"K\r\nContent-Le", b"ngth: 4\r\n\r", b"\n{", b"\n\n}") == (
        200,
        b"{\n\n}",
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 many OK\r\nContent-Length: 1\r\n\r\n1",
    ],
)
def test_an_answer_that_breaks_off_or_is_of_another_kind_is_a_connection_error(answer: bytes) -> None:
    with pytest.raises(ConnectionError):
        answer_of_server(answer)
