"""Counts are read from the pods that answer, by HTTP, and added to what the status has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from helpers.services import NOW, pod, service

from sapflow.serving.metrics import ServerMetrics
from sapflow_operator import names
from sapflow_operator.serving import read_counts
from sapflow_operator.serving.read_counts import CountReader


class Process:
    """A serving process, as far as its metrics go; it sends them in small parts."""

    def __init__(self) -> None:
        self.metrics, self.head, self.silent = ServerMetrics(), "HTTP/1.1 200 OK", False

    def answers(self, count: int, status: int = 200) -> None:
        for _ in range(count):
            self.metrics.answered("predict", status, 0.001)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if self.silent:
            await reader.read()
        body = self.metrics.text(0, {}, {}).encode()
        writer.write(f"{self.head}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        for begin in range(0, len(body), 700):
            writer.write(body[begin : begin + 700])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    @asynccontextmanager
    async def running(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CountReader]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0) as server:
            monkeypatch.setattr(names, "FUNCTION_PORT", server.sockets[0].getsockname()[1])
            reader = CountReader()
            yield reader
            await reader.close()


def local_pod(revision: str = "v1", **fields: Any) -> dict[str, Any]:
    found = pod(revision, **fields)
    found["status"]["podIP"] = "127.0.0.1"
    return found


def test_a_pod_is_asked_where_its_annotation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        process = Process()
        async with process.running(monkeypatch) as reader:
            elsewhere = local_pod()
            elsewhere["metadata"]["annotations"] = {"prometheus.io/port": str(names.FUNCTION_PORT)}
            monkeypatch.setattr(names, "FUNCTION_PORT", 1)
            process.answers(3)
            assert (await reader.read(service(), [elsewhere], NOW)).total.requests == 3
            process.metrics.answered("grpcModelInfer", 503, 0.001)
            found = await reader.read(service(), [elsewhere], NOW)
            assert (found.total.requests, found.total.errors) == (4, 1)

    asyncio.run(work())


def test_what_pods_have_counted_is_added_to_the_status_and_no_part_of_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        process = Process()
        late = service({"requests": 100, "errors": 4})
        async with process.running(monkeypatch) as reader:
            process.answers(7)
            process.answers(2, 500)
            found = await reader.read(late, [local_pod()], NOW)
            assert (found.total.requests, found.total.errors) == (109, 6)
            process.answers(1)
            found = await reader.read(late, [local_pod()], NOW)
            assert found.total.requests == 110

    asyncio.run(work())


def test_a_pod_from_before_the_operator_started_is_in_the_status_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work() -> None:
        process = Process()
        late = service({"requests": 100})
        async with process.running(monkeypatch) as reader:
            process.answers(50)
            later = NOW + timedelta(hours=1)
            assert (await reader.read(late, [local_pod()], later)).total.requests == 100
            process.answers(3)
            assert (await reader.read(late, [local_pod()], later)).total.requests == 103

    asyncio.run(work())


def test_a_canarys_step_counts_from_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        process = Process()
        async with process.running(monkeypatch) as reader:
            process.answers(5)
            first = service({"canary": {"revision": "v2", "since": "12:00"}})
            assert (await reader.read(first, [local_pod("v2")], NOW)).step.requests == 0
            process.answers(4)
            assert (await reader.read(first, [local_pod("v2")], NOW)).step.requests == 4
            second = service({"canary": {"revision": "v2", "since": "12:05"}})
            assert (await reader.read(second, [local_pod("v2")], NOW)).step.requests == 0

    asyncio.run(work())


def test_a_pod_that_does_not_answer_or_is_not_ready_counts_nothing_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_counts, "SECONDS", 0.2)

    async def work() -> None:
        process = Process()
        async with process.running(monkeypatch) as reader:
            process.answers(5)
            assert (await reader.read(service(), [local_pod(ready=False)], NOW)).total.requests == 0
            process.head = "HTTP/1.1 503 Unavailable"
            assert (await reader.read(service(), [local_pod()], NOW)).total.requests == 0
            process.silent = True
            assert (await reader.read(service(), [local_pod()], NOW)).total.requests == 0

    asyncio.run(work())
