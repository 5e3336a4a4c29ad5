"""Which client should carry objects to S3? `python -m bench.store_clients` measures several against a MinIO of its own.

Each runs in a process of its own, so that imports and memory are its own too, and they take turns, so that what
else the machine does hits all alike. `obstore` is measured where it is installed; it is no dependency of Sapflow.
docs/adr/0002-store-client.md draws the conclusion.
"""

import argparse
import functools
import importlib.util
import io
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from sapflow.objects.safetensor import aligned

SIZES = {200_000: 40, 4_000_000: 12, 100_000_000: 4}
"""Bytes of an object, and how many are written and read."""
HEADER = 128


class Client(ABC):
    """One way to talk to the store; `create` sends what it can of a create-only write."""

    what: str
    create_only = "yes"

    def __init__(self, endpoint: str, access_key: str, secret_key: str, bucket: str) -> None:
        self.bucket = bucket
        self.open(endpoint, access_key, secret_key)

    @abstractmethod
    def open(self, endpoint: str, access_key: str, secret_key: str) -> None: ...

    @abstractmethod
    def create(self, key: str, parts: list[memoryview]) -> None: ...

    @abstractmethod
    def read(self, key: str, target: memoryview) -> None:
        """Put the whole object into `target`, as a sum that streams or a warm buffer wants it."""


class Sapflow(Client):
    what = "sapflow: sockets, http.client answers"

    def open(self, endpoint: str, access_key: str, secret_key: str) -> None:
        from sapflow.objects.stores.credentials import Credentials
        from sapflow.objects.stores.factory import open_store

        self.store = open_store(
            f"s3://{self.bucket}?endpoint={endpoint}", Credentials(access_key, secret_key)
        )

    def create(self, key: str, parts: list[memoryview]) -> None:
        if not self.store.create(key, parts):
            raise AssertionError(f"{key} was there already")

    def read(self, key: str, target: memoryview) -> None:
        with self.store.open(key) as reader:
            reader.readinto(target)


class MinioPublic(Client):
    what = "minio-py: put_object, get_object"
    create_only = "no"

    def open(self, endpoint: str, access_key: str, secret_key: str) -> None:
        from minio import Minio

        self.client = Minio(
            urlsplit(endpoint).netloc, access_key=access_key, secret_key=secret_key, secure=False
        )

    def create(self, key: str, parts: list[memoryview]) -> None:
        body = b"".join(parts)
        self.client.put_object(self.bucket, key, io.BytesIO(body), len(body))

    def read(self, key: str, target: memoryview) -> None:
        answer = self.client.get_object(self.bucket, key)
        _drain(answer.readinto, target)
        answer.close()
        answer.release_conn()


class MinioSigner(Client):
    what = "minio-py's signature, urllib3"

    def open(self, endpoint: str, access_key: str, secret_key: str) -> None:
        import urllib3
        from minio.credentials.credentials import Credentials
        from minio.signer import sign_v4_s3

        self.base = f"{endpoint}/{self.bucket}"
        self.pool = urllib3.PoolManager()
        self.sign = functools.partial(
            sign_v4_s3,
            region="us-east-1",
            credentials=Credentials(access_key, secret_key),
            content_sha256="UNSIGNED-PAYLOAD",
        )

    def _headers(self, method: str, url: str, **headers: str) -> dict[str, Any]:
        now = datetime.now(UTC)
        plain = {
            "Host": urlsplit(url).netloc,
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
            "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ"),
        }
        return self.sign(method=method, url=urlsplit(url), headers={**plain, **headers}, date=now)

    def create(self, key: str, parts: list[memoryview]) -> None:
        url = f"{self.base}/{key}"
        headers = self._headers("PUT", url, **{"If-None-Match": "*"})
        headers["Content-Length"] = str(sum(map(len, parts)))
        body: Any = iter(parts)
        answer = self.pool.request("PUT", url, body=body, headers=headers)
        if answer.status != 200:
            raise AssertionError(answer.data)

    def read(self, key: str, target: memoryview) -> None:
        url = f"{self.base}/{key}"
        answer: Any = self.pool.request("GET", url, headers=self._headers("GET", url), preload_content=False)
        _drain(answer.readinto, target)
        answer.release_conn()


class Obstore(Client):
    what = "obstore: create mode"

    def open(self, endpoint: str, access_key: str, secret_key: str) -> None:
        # By name, because type checkers look for it where it is not installed.
        self.obstore: Any = importlib.import_module("obstore")
        self.store: Any = self.obstore.store.S3Store(
            self.bucket,
            endpoint=endpoint,
            access_key_id=access_key,
            secret_access_key=secret_key,
            region="us-east-1",
            client_options={"allow_http": True},
        )

    def create(self, key: str, parts: list[memoryview]) -> None:
        self.obstore.put(self.store, key, b"".join(parts), mode="create", use_multipart=False)

    def read(self, key: str, target: memoryview) -> None:
        at = 0
        for piece in self.obstore.get(self.store, key).stream(min_chunk_size=1 << 20):
            target[at : at + len(piece)] = memoryview(piece)
            at += len(piece)


class ObstoreGet(Obstore):
    what = "obstore: create mode, GET whole"

    def read(self, key: str, target: memoryview) -> None:
        target[:] = memoryview(self.obstore.get(self.store, key).bytes())


CLIENTS: dict[str, type[Client]] = {
    kind.__name__: kind for kind in (Sapflow, MinioPublic, MinioSigner, Obstore, ObstoreGet)
}


def _drain(readinto: Callable[[memoryview], int], target: memoryview) -> None:
    at = 0
    while at < len(target):
        at += readinto(target[at:])


def _peak() -> float:
    """Most MB that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def serve(name: str, *service: str) -> None:
    """The program of a client's own process: does what its input asks for, a line at a time, and says what it cost."""
    start = time.perf_counter()
    client = CLIENTS[name](*service)
    client.read("warm", aligned(3, "u1").data)
    print(json.dumps(time.perf_counter() - start), flush=True)
    buffers: dict[int, memoryview] = {}
    for line in sys.stdin:
        operation, size, round_number = json.loads(line)
        if size not in buffers:
            buffers[size] = aligned(size, "u1").data
            buffers[size][:] = bytes(size)
        buffer, key = buffers[size], f"{name}/{size}-{round_number}"
        peak, wall, cpu = _peak(), time.perf_counter(), time.process_time()
        if operation == "PUT":
            client.create(key, [buffer[:HEADER], buffer[HEADER:]])
        else:
            client.read(key, buffer)
        cpu = time.process_time() - cpu
        print(json.dumps([time.perf_counter() - wall, cpu, _peak() - peak]), flush=True)


class Process:
    """A client in a process of its own."""

    def __init__(self, name: str, service: tuple[str, ...]) -> None:
        self.kind = CLIENTS[name]
        command = [sys.executable, "-m", "bench.store_clients", "--serve", name, *service]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened = self._answer()

    def ask(self, operation: str, size: int, round_number: int) -> list[float]:
        """Seconds, CPU seconds and further MB of peak memory of one object written or read."""
        assert self._process.stdin
        print(json.dumps([operation, size, round_number]), file=self._process.stdin, flush=True)
        return list(self._answer())

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.kind.what} ended with {self._process.wait()}")
        return json.loads(line)

    def end(self) -> None:
        self._process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", nargs=5, metavar="WORD", help="for the program's own processes")
    if wanted := parser.parse_args().serve:
        serve(*wanted)
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from s3_servers import HOW_TO_FIX, Minio, find_minio

    binary = find_minio(os.environ)
    if binary is None:
        sys.exit(HOW_TO_FIX)
    names = [
        name for name in CLIENTS if "obstore" not in CLIENTS[name].what or importlib.util.find_spec("obstore")
    ]
    with tempfile.TemporaryDirectory() as folder, Minio(binary, Path(folder)) as service:
        store = service.open()
        store.create("warm", b"abc")
        store.close()
        keys = service.credentials
        place = (service.endpoint, keys.access_key, keys.secret_key, service.bucket)
        processes = [Process(name, place) for name in names]
        table = Table("", "client", "create-only", "wall ms", "× ours", "CPU ms", "× ours", "peak + MB")
        for process in processes:
            ours = processes[0].opened
            table.add_row("start", *_columns(process, process.opened, ours))
        table.add_section()
        for size, operation in itertools.product(SIZES, ("PUT", "GET")):
            _compare(table, processes, operation, size)
        for process in processes:
            process.end()
    Console(width=130).print(table)


def _compare(table: Table, processes: list[Process], operation: str, size: int) -> None:
    costs: dict[Process, list[list[float]]] = {process: [] for process in processes}
    for round_number in range(SIZES[size]):
        for process in processes:
            costs[process].append(process.ask(operation, size, round_number))
    medians = {
        process: [statistics.median(column) for column in zip(*rows, strict=True)]
        for process, rows in costs.items()
    }
    wall, cpu, _ = medians[processes[0]]
    for process, rows in costs.items():
        cells = _columns(process, medians[process][0], wall)
        cells += [f"{1000 * medians[process][1]:.2f}", f"{medians[process][1] / cpu:.2f}"]
        table.add_row(f"{operation} {size / 1e6:g} MB", *cells, f"{sum(row[2] for row in rows):.0f}")
    table.add_section()


def _columns(process: Process, seconds: float, ours: float) -> list[str]:
    return [process.kind.what, process.kind.create_only, f"{1000 * seconds:.1f}", f"{seconds / ours:.2f}"]


if __name__ == "__main__":
    main()
