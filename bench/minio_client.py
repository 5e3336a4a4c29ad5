"""The minio-py client of the other side, which waits for an object by polling."""

import os
import time
from io import BytesIO

from minio import Minio
from minio.error import S3Error

from bench.stores import BUCKET

POLL_SECONDS = 0.005


class Client:
    """GET and PUT of complete objects, as in common examples."""

    def __init__(self) -> None:
        endpoint = os.environ["BENCH_ENDPOINT"].removeprefix("http://")
        self._minio = Minio(
            endpoint,
            access_key=os.environ["BENCH_KEY"],
            secret_key=os.environ["BENCH_SECRET"],
            secure=False,
            region="us-east-1",
        )

    def get(self, key: str) -> bytes:
        response = self._minio.get_object(BUCKET, key)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._minio.put_object(BUCKET, key, BytesIO(data), len(data))

    def names(self, prefix: str) -> list[str]:
        found = self._minio.list_objects(BUCKET, prefix=prefix, recursive=True)
        return [str(one.object_name) for one in found]

    def wait_for(self, key: str) -> bytes:
        """The object, as soon as it is there."""
        while True:
            try:
                return self.get(key)
            except S3Error as error:
                if error.code != "NoSuchKey":
                    raise
            time.sleep(POLL_SECONDS)
