"""Asks a server over several connections at once, each for the next answer as soon as it has one.

python -m bench.request_load PORT PATH CONNECTIONS SECONDS < BODY: prints the seconds of each answer as JSON.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Load:
    """What came back."""

    seconds: list[float]
    """From each request to its answer."""
    elapsed: float
    failed: int

    @property
    def per_second(self) -> float:
        return len(self.seconds) / self.elapsed

    def percentile(self, part: float) -> float:
        """The seconds within which that part of the answers came."""
        return float(np.percentile(self.seconds, part))


async def load(port: int, path: str, body: bytes, connections: int, seconds: float) -> Load:
    """Ask for so many seconds."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    found: list[float] = []
    failed = 0
    began = time.perf_counter()

    async def one() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            writer.write(request)
            top = await reader.readuntil(b"\r\n\r\n")
            length = int(top.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            if top.startswith(b"HTTP/1.1 200"):
                found.append(time.perf_counter() - sent)
            else:
                failed += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return Load(found, time.perf_counter() - began, failed)


def main() -> None:
    port, path, connections, seconds = sys.argv[1:5]
    body = sys.stdin.buffer.read()
    found = asyncio.run(load(int(port), path, body, int(connections), float(seconds)))
    print(json.dumps({"seconds": found.seconds, "elapsed": found.elapsed, "failed": found.failed}))


if __name__ == "__main__":
    main()
