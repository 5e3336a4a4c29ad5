"""Makes the bucket of the chart's own MinIO, which may still be starting.

python3 -m sapflow_operator.hooks.bucket
"""

import os
import sys
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from sapflow.errors import SapflowError, StoreUnavailable
from sapflow_operator.settings import ObjectStorage, Settings

PATIENCE = 180.0
"""How long the store may take to start, in seconds."""
_PAUSE = 1.0


def ensure(storage: ObjectStorage, patience: float = PATIENCE) -> bool:
    """Make the bucket if it does not exist. Returns whether it was made. Raises StoreUnavailable after `patience`."""
    url = urlsplit(storage.endpoint)
    client = Minio(
        url.netloc,
        access_key=storage.access_key,
        secret_key=storage.secret_key.get_secret_value(),
        secure=url.scheme == "https",
        region=storage.region,
        http_client=urllib3.PoolManager(timeout=urllib3.Timeout(connect=2.0, read=10.0), retries=False),
    )
    ends = time.monotonic() + patience
    while True:
        try:
            client.make_bucket(storage.bucket, storage.region)
            return True
        except (urllib3.exceptions.HTTPError, MinioException) as error:
            if isinstance(error, S3Error) and error.code in (
                "BucketAlreadyOwnedByYou",
                "BucketAlreadyExists",
            ):
                return False
            if time.monotonic() > ends:
                raise StoreUnavailable(
                    f"bucket {storage.bucket!r} could not be made at {storage.endpoint}: {error}; is the store "
                    "running, and do its credentials allow it?"
                ) from error
        time.sleep(_PAUSE)


def main(environ: Mapping[str, str]) -> int:
    try:
        storage = Settings.from_environment(environ).storage
        if storage is None:
            print("no store is set: there is no bucket to make")
        elif ensure(storage):
            print(f"bucket {storage.bucket!r} was made at {storage.endpoint}")
        else:
            print(f"bucket {storage.bucket!r} is there already at {storage.endpoint}")
    except SapflowError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
