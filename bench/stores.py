"""The stores that are measured: a directory on tmpfs, and a MinIO process of the benchmark's own."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store

SHARED_MEMORY = "/dev/shm"
BUCKET = "tests"

sys.path.append(
    str(Path(__file__).parent.parent / "tests")
)  # the servers that the tests start serve here too
from s3_servers import HOW_TO_FIX, Minio, find_minio  # noqa: E402


@dataclass(frozen=True)
class Place:
    """Where a store is, and the environment that functions need to open it."""

    name: str
    url: str
    environ: dict[str, str] = field(default_factory=dict)

    def open(self) -> Store:
        return open_store(self.url, Credentials.from_environment(self.environ))


@dataclass(frozen=True)
class MinioPlace(Place):
    """MinIO, and what other clients need to speak to it."""

    endpoint: str = ""
    credentials: Credentials = field(default_factory=lambda: Credentials("", ""))

    @property
    def client_environ(self) -> dict[str, str]:
        """For `textbook_client` in another process."""
        keys = self.credentials
        return {
            "BENCH_ENDPOINT": self.endpoint,
            "BENCH_KEY": keys.access_key,
            "BENCH_SECRET": keys.secret_key,
        }


@contextmanager
def directory() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY, prefix="sapflow-bench-") as folder:
        yield Place("directory", f"file://{folder}")


@contextmanager
def minio() -> Iterator[MinioPlace]:
    """Raises RuntimeError where there is no `minio` binary."""
    binary = find_minio(os.environ)
    if binary is None:
        raise RuntimeError(HOW_TO_FIX)
    with (
        tempfile.TemporaryDirectory(prefix="sapflow-bench-") as folder,
        Minio(binary, Path(folder)) as server,
    ):
        keys = server.credentials
        environ = {"SAPFLOW_S3_ACCESS_KEY": keys.access_key, "SAPFLOW_S3_SECRET_KEY": keys.secret_key}
        yield MinioPlace("MinIO", server.url(), environ, server.endpoint, keys)
