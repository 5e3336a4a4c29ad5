"""Source files on S3: they are listed once, and read in ranges through Sapflow's store."""

import io
import os
from collections.abc import Callable
from typing import BinaryIO, cast
from urllib.parse import parse_qs, urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from sapflow.data.data_file import DataFile
from sapflow.errors import DataError, StoreUnavailable
from sapflow.objects.stores.credentials import CredentialSource
from sapflow.objects.stores.factory import credentials_from_environment, open_store
from sapflow.objects.stores.protocol import Store

READ_AHEAD = 4 << 20
SECONDS = 30.0


def s3_files(url: str, credentials: CredentialSource | None = None) -> list[DataFile]:
    """The objects at `s3://bucket/prefix?endpoint=URL`: the object with that key, or all objects below `prefix/`.

    Without `credentials` those of the environment are used. Raises DataError if the bucket does not exist or access is
    refused, StoreUnavailable if there is no answer, StoreError if the URL or the credentials are incomplete.
    """
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    credentials = credentials or credentials_from_environment(os.environ)
    bucket = parts._replace(path="").geturl()
    open_store(bucket, credentials).close()  # raises for a wrong URL and missing credentials
    assert credentials is not None
    query = parse_qs(parts.query)
    region = query.get("region", ["us-east-1"])[0]
    endpoint = urlsplit(query.get("endpoint", [f"https://s3.{region}.amazonaws.com"])[0])
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5.0, read=SECONDS),
        retries=urllib3.Retry(total=4, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
    )
    keys = credentials.current()
    client = Minio(
        endpoint.netloc,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        session_token=keys.session_token,
        secure=endpoint.scheme == "https",
        region=region,
        http_client=pool,
    )
    shown = f"s3://{parts.netloc}"
    files = []
    try:
        for item in client.list_objects(parts.netloc, prefix=prefix, recursive=True):
            key = item.object_name or ""
            if key.endswith("/") or not (key == prefix or not prefix or key.startswith(f"{prefix}/")):
                continue
            size = item.size or 0
            files.append(DataFile(f"{shown}/{key}", size, _opener(bucket, credentials, key, size)))
    except S3Error as error:
        raise DataError(
            f"{shown}/{prefix} cannot be listed: {error.code}; the credentials need list and read there"
        ) from error
    except (urllib3.exceptions.HTTPError, MinioException) as error:
        raise StoreUnavailable(f"{endpoint.netloc} gave no listing of {shown}/{prefix}: {error}") from error
    finally:
        pool.clear()
    return files


def _opener(bucket: str, credentials: CredentialSource, key: str, size: int) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        ranges = _Ranges(open_store(bucket, credentials), key, size)
        return cast(BinaryIO, io.BufferedReader(ranges, READ_AHEAD))

    return opened


class _Ranges(io.RawIOBase):
    """An object as a raw file; each read is one ranged GET. Closing it closes its store."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        super().__init__()
        self._store, self._key, self._size, self._at = store, key, size, 0

    def close(self) -> None:
        if not self.closed:
            self._store.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has no public buffer type
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self._size - self._at))
        if count:
            target[:count] = self._store.read(self._key, self._at, count)
            self._at += count
        return count
