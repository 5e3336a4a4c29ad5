"""Source files on S3: they are listed once, and read in ranges through Sapflow's store."""

import io
import os
from collections.abc import Callable
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from sapflow.data.data_file import DataFile
from sapflow.data.folder import in_folder, in_nested
from sapflow.data.seekable import SeekableFile
from sapflow.errors import DataError, StoreError, StoreUnavailable
from sapflow.objects.stores.credentials import CredentialSource
from sapflow.objects.stores.factory import credentials_from_environment, open_store
from sapflow.objects.stores.protocol import Store
from sapflow.objects.stores.s3 import open_s3

READ_AHEAD = 4 << 20


def s3_files(
    url: str, credentials: CredentialSource | None = None, *, nested: bool = False
) -> list[DataFile]:
    """The objects at `s3://bucket/prefix?endpoint=URL`: the object with that key, or those in the folder `prefix/`.

    Of a folder the same is read as of one on this machine (`folder.in_folder`); `nested`: and what lies in folders
    within it.

    Without `credentials` those of the environment are used. Raises DataError if the bucket does not exist or access is
    refused, StoreUnavailable if there is no answer, StoreError if the URL or the credentials are incomplete.
    """
    parts = urlsplit(url, allow_fragments=False)
    prefix = parts.path.strip("/")
    credentials = credentials or credentials_from_environment(os.environ)
    bucket = parts._replace(path="").geturl()
    shown = f"s3://{parts.netloc}"
    store = open_s3(bucket, credentials)
    assert credentials is not None, "a store of S3 is not opened without"
    try:
        single = store.find(prefix) if prefix and not parts.path.endswith("/") else None
        if single is not None and single.size:
            found = [single]
        else:
            # An empty object beside a folder of its name is how some programs mark the folder.
            folder = f"{prefix}/" if prefix else ""
            listed = {
                each.key.removeprefix(folder): each
                for each in store.list(folder, shallow=not nested)
                if each.key != folder
            }
            names = in_nested(listed) if nested else in_folder(listed, f"{shown}/{prefix}")
            found = [listed[name] for name in names] or [each for each in (single,) if each is not None]
        return [
            DataFile(
                f"{shown}/{each.key}", each.size, _opener(bucket, credentials, each.key, each.size), each.tag
            )
            for each in found
        ]
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise DataError(
            f"{shown}/{prefix} cannot be listed: {error}; the credentials need list and read there"
        ) from error
    finally:
        store.close()


def _opener(bucket: str, credentials: CredentialSource, key: str, size: int) -> Callable[[], BinaryIO]:
    def opened() -> BinaryIO:
        ranges = _Ranges(open_store(bucket, credentials), key, size)
        return cast(BinaryIO, io.BufferedReader(ranges, READ_AHEAD))

    return opened


class _Ranges(SeekableFile):
    """An object as a raw file; each read is one ranged GET. Closing it closes its store."""

    def __init__(self, store: Store, key: str, size: int) -> None:
        super().__init__(size)
        self._store, self._key = store, key

    def close(self) -> None:
        if not self.closed:
            self._store.close()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed has no public buffer type
        target = memoryview(buffer).cast("B")
        count = max(0, min(len(target), self._size - self._at))
        if count:
            target[:count] = self._store.read(self._key, self._at, count)
            self._at += count
        return count
