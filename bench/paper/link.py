"""A store behind a simulated network: a proxy that gives each connection a latency and a bandwidth.

python -m bench.paper.link HOST PORT LATENCY BANDWIDTH prints its own port and forwards bytes until it is ended. It is a
separate process, so that it shares its event loop with neither driver nor store.
"""

import asyncio
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import cast
from urllib.parse import urlsplit

from bench.stores import MinioPlace

_SEND_BUFFER = 256 << 10
"""Bytes that the kernel buffers behind the link for a slow reader."""


@dataclass(frozen=True, slots=True)
class Link:
    """The properties of each connection in both directions: seconds of a round trip, bytes per second."""

    latency: float
    bandwidth: float

    def __str__(self) -> str:
        return f"{1000 * self.latency:g} ms, {self.bandwidth / 1e6:g} MB/s a connection"

    @property
    def window(self) -> int:
        """The most bytes under way in one direction."""
        return int(self.bandwidth * self.latency) + (256 << 10)


class Lane:
    """One direction of one connection: bytes leave one after the other and arrive half a round trip later."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._free = 0.0

    def arrival(self, now: float, size: int) -> float:
        """The time at which `size` bytes that are sent at `now` have arrived, on the same clock."""
        self._free = max(now, self._free) + size / self._link.bandwidth
        return self._free + self._link.latency / 2


class _Side(asyncio.Protocol):
    """One end of a connection. What it receives goes to `peer` after it has passed the lane."""

    def __init__(self, link: Link, sides: "set[_Side]") -> None:
        self._link, self._lane, self._sides = link, Lane(link), sides
        self._loop = asyncio.get_running_loop()
        self._under_way = 0
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._held = False
        self.transport: asyncio.Transport | None = None
        self.peer: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._sides.add(self)

    def data_received(self, data: bytes) -> None:
        self._waiting.append((self._lane.arrival(self._loop.time(), len(data)), data))
        self._under_way += len(data)
        self._pace()
        if self._timer is None:
            self._timer = self._loop.call_at(self._waiting[0][0], self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now + 1e-4:
            data = self._waiting.popleft()[1]
            self._under_way -= len(data)
            if self.peer is not None and self.peer.transport is not None:
                self.peer.transport.write(data)
        self._pace()
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self._deliver)

    def pause_writing(self) -> None:
        self._hold_peer(True)

    def resume_writing(self) -> None:
        self._hold_peer(False)

    def _hold_peer(self, held: bool) -> None:
        if self.peer is not None:
            self.peer._held = held
            self.peer._pace()

    def _pace(self) -> None:
        """Read while the lane has room and the other end accepts its output."""
        if self.transport is None or self.transport.is_closing():
            return
        if self._held or self._under_way > self._link.window:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Close the other end once it has all bytes that are under way."""
        self._sides.discard(self)
        if self.peer is None or self.peer.transport is None:
            return
        if self._waiting and error is None:
            self._loop.call_at(self._waiting[-1][0] + 1e-3, self.peer.transport.close)
        else:
            self.peer.transport.close()


@asynccontextmanager
async def passing(host: str, port: int, link: Link) -> AsyncIterator[int]:
    """Forward connections to a free local port, which is yielded, to a server. At the end all are closed."""
    loop = asyncio.get_running_loop()
    sides: set[_Side] = set()

    def side() -> _Side:
        return _Side(link, sides)

    class Client(_Side):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            cast(asyncio.Transport, transport).pause_reading()
            self._opening = loop.create_task(self._open())

        async def _open(self) -> None:
            assert self.transport is not None
            try:
                _, server = await loop.create_connection(side, host, port)
            except OSError:
                self.transport.close()
                return
            self.peer, server.peer = server, self
            if self.transport.is_closing() and server.transport is not None:
                server.transport.close()
            self._pace()

    listening = await loop.create_server(lambda: Client(link, sides), "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for each in list(sides):
            if each.transport is not None:
                each.transport.abort()
        # Sockets are closed in the next iteration of the loop.
        await asyncio.sleep(0)


@contextmanager
def behind(place: MinioPlace, link: Link) -> Iterator[MinioPlace]:
    """The same store behind the link."""
    parts = urlsplit(place.endpoint)
    arguments = [str(parts.hostname), str(parts.port), str(link.latency), str(link.bandwidth)]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.paper.link", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
        yield replace(place, url=place.url.replace(place.endpoint, endpoint), endpoint=endpoint)
    finally:
        process.kill()
        process.communicate()


async def _main(host: str, port: str, latency: str, bandwidth: str) -> None:
    async with passing(host, int(port), Link(float(latency), float(bandwidth))) as listening:
        print(listening, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
