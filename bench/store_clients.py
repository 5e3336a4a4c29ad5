"""Which client should carry objects to S3? `python -m bench.store_clients` measures five against a MinIO of its own.

Each runs in a process of its own, so that imports and memory are its own too. `obstore` is measured where it is
installed; it is no dependency of Sapflow. docs/adr/0002-store-client.md draws the conclusion.
"""

import argparse
import functools
import io
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
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from sapflow.safetensor import aligned

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
    what = "sapflow: http.client, own signature"

    def open(self, endpoint: str, access_key: str, secret_key: str) -> None:
        from sapflow.store import Credentials, open_store

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


class MinioPresigned(MinioPublic):
    what = "minio-py: presigned URL, urllib3"
    create_only = "yes"

    def open(self, endpoint: str, access_key: str, secret_key: str) -> None:
        import urllib3

        super().open(endpoint, access_key, secret_key)
        self.pool = urllib3.PoolManager()
        # Looked up once, as a store would: the client asks for the bucket's region otherwise.
        self.sign = functools.partial(
            self.client.get_presigned_url, bucket_name=self.bucket, expires=timedelta(minutes=5)
        )

    def create(self, key: str, parts: list[memoryview]) -> None:
        url = self.sign(method="PUT", object_name=key, extra_headers={"if-none-match": "*"})
        headers = {"if-none-match": "*", "content-length": str(sum(map(len, parts)))}
        answer = self.pool.request("PUT", url, body=iter(parts), headers=headers)
        if answer.status != 200:
            raise AssertionError(answer.data)

    def read(self, key: str, target: memoryview) -> None:
        url = self.sign(method="GET", object_name=key)
        answer = self.pool.request("GET", url, preload_content=False)
        _drain(answer.readinto, target)
        answer.release_conn()


class Obstore(Client):
    what = "obstore: create mode"

    def open(self, endpoint: str, access_key: str, secret_key: str) -> None:
        import obstore
        from obstore.store import S3Store

        self.obstore: Any = obstore
        self.store: Any = S3Store(
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


class ObstoreWhole(Obstore):
    what = "obstore: create mode, GET whole"

    def read(self, key: str, target: memoryview) -> None:
        target[:] = memoryview(self.obstore.get(self.store, key).bytes())


CLIENTS: dict[str, type[Client]] = {
    kind.__name__: kind for kind in (Sapflow, MinioPublic, MinioPresigned, Obstore, ObstoreWhole)
}


def _drain(readinto: Callable[[memoryview], int], target: memoryview) -> None:
    at = 0
    while at < len(target):
        at += readinto(target[at:])


def _peak() -> float:
    """Most MB that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def measure(name: str, *service: str) -> dict[str, Any]:
    """Run in a process of its own: seconds, CPU seconds and MB of one client."""
    start = time.perf_counter()
    client = CLIENTS[name](*service)
    client.read("warm", aligned(3, "u1").data)
    rows: dict[str, Any] = {"opened": time.perf_counter() - start}
    for size, count in SIZES.items():
        source, target = aligned(size, "u1").data, aligned(size, "u1").data
        source[:] = target[:] = bytes(size)
        parts = [source[:HEADER], source[HEADER:]]
        for operation in ("PUT", "GET"):
            before, walls, cpus = _peak(), [], []
            for turn in range(count):
                key = f"{name}/{size}-{turn}"
                wall, cpu = time.perf_counter(), time.process_time()
                if operation == "PUT":
                    client.create(key, parts)
                else:
                    client.read(key, target)
                cpus.append(time.process_time() - cpu)
                walls.append(time.perf_counter() - wall)
            rows[f"{operation} {size}"] = (statistics.median(walls), statistics.mean(cpus), _peak() - before)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs=5, metavar="WORD", help="for the program's own processes")
    wanted = parser.parse_args().measure
    if wanted:
        json.dump(measure(*wanted), sys.stdout)
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from s3_servers import HOW_TO_FIX, Minio, find_minio

    binary = find_minio(os.environ)
    if binary is None:
        sys.exit(HOW_TO_FIX)
    with tempfile.TemporaryDirectory() as folder, Minio(binary, Path(folder)) as service:
        store = service.open()
        store.create("warm", b"abc")
        store.close()
        keys = service.credentials
        place = (service.endpoint, keys.access_key, keys.secret_key, service.bucket)
        results = {name: _run(name, place) for name in CLIENTS}
    _print({name: rows for name, rows in results.items() if rows})


def _run(name: str, place: tuple[str, ...]) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.store_clients", "--measure", name, *place]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"{CLIENTS[name].what}: {ran.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return {}
    return dict(json.loads(ran.stdout))


def _print(results: dict[str, dict[str, Any]]) -> None:
    table = Table("", "client", "create-only", "wall ms", "× ours", "CPU ms", "× ours", "peak + MB")
    first = results["Sapflow"]
    for row in first:
        for name, rows in results.items():
            kind = CLIENTS[name]
            if row == "opened":
                seconds, cpu, memory = rows[row], None, None
            else:
                seconds, cpu, memory = rows[row]
            ours = first[row] if row == "opened" else first[row][0]
            cells = [row, kind.what, kind.create_only, f"{1000 * seconds:.1f}", f"{seconds / ours:.2f}"]
            if cpu is not None:
                cells += [f"{1000 * cpu:.2f}", f"{cpu / first[row][1]:.2f}", f"{memory:.0f}"]
            table.add_row(*cells)
        table.add_section()
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
