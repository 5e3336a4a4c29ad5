"""A job's use of a shared area: where its data lies, what it may do there, and the end of the use. All of it blocks.

The operator alone decides it, from what the spec names and what the store's owner reads there.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from itertools import islice
from urllib.parse import urlsplit

from sapflow.data import area, shared_data
from sapflow.data.data_file import DataFile
from sapflow.data.shared_data import SharedData
from sapflow.errors import BucketMissing, DataError, InputsChanged, StoreError, StoreUnavailable
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow.records import shared_area
from sapflow.spec.sources import s3_location
from sapflow_operator.store.policy import SharedGrant
from sapflow_operator.wanted import Place, Wanted

READS_AT_ONCE = 8
MOST_FILES = 5000
"""Files of a source. One that has more is cut for its job alone: the operator keeps their names in memory meanwhile."""


def decide(wanted: Wanted, owner: Credentials) -> SharedData | None:
    """The area that the data of a job belongs in that is about to start; None if its data lies below its own prefix.

    So does data that user code would have to cut, what the store's owner cannot read or share, what has too many files,
    and what no cut can be made of, which the cut will say. Raises StoreUnavailable.
    """
    job = wanted.data_job
    if job is None or not area.shareable(job.spec.data):
        return None
    try:
        found = _area_for(wanted, owner)
        if found is None:
            return None
        with closing(open_store(wanted.place.url, owner)) as store:
            if not wanted.without_user_code and not shared_data.is_cut(store, found.area.digest):
                return None
            return found if shared_data.may_share(store, found.area) else None
    except StoreUnavailable:
        raise
    except (DataError, StoreError):
        return None


def use(place: Place, owner: Credentials, found: SharedData, uid: str) -> None:
    """Make the job `uid` a user of the area, before it can reach it. Raises StoreError."""
    with closing(open_store(place.url, owner)) as store:
        shared_data.use(store, found, uid)


def grant(wanted: Wanted, owner: Credentials) -> SharedGrant | None:
    """What the job's credentials are to allow in its area; None where it has none, or cannot get its data there.

    The job may write there until its data is cut, unless it runs user code. What a preparation needed may be removed
    afterwards, too: nobody reads it then. Whatever the job's status says, the area is one for what its spec names.
    Raises AlteredObject if it is not, InputsChanged, StoreError.
    """
    job, digest = wanted.data_job, wanted.area
    if job is None or digest is None:
        return None
    with closing(open_store(wanted.place.url, owner)) as store:
        if not shared_data.use_again(store, digest, wanted.uid, job, area.namespace(wanted.namespace)):
            found = _area_for(wanted, owner)
            if found is None or found.area.digest != digest:
                raise InputsChanged(
                    f"the data of job {wanted.name} is not what it was begun with, and what was cut of that is gone: "
                    "delete the job and apply it again, or apply it under another metadata.name"
                )
            shared_data.use(store, found, wanted.uid)
        cut = shared_data.is_cut(store, digest)
    if cut or wanted.without_user_code:
        return SharedGrant(digest, write=not cut, clear=job.spec.data.prepare is not None)
    return None


def leave(place: Place, owner: Credentials, uid: str, digest: str) -> None:
    """End a job's use of an area, which is removed if that was its last user. It may be repeated. Raises StoreError."""
    # Where the bucket is gone, all that was to be removed is gone with it.
    with closing(open_store(place.url, owner)) as store, suppress(BucketMissing):
        shared_area.leave(store, digest, uid)


def _area_for(wanted: Wanted, owner: Credentials) -> SharedData | None:
    job = wanted.data_job
    if job is None or any(
        _has_too_many(source, wanted.place, owner, nested=job.spec.data.prepare is not None)
        for source in (wanted.source, wanted.validation)
    ):
        return None

    def readable(files: Sequence[DataFile]) -> None:
        _check_readable(files, wanted.place, owner)

    find = shared_data.finder(wanted.place.url, owner)
    return shared_data.area_for(job, area.namespace(wanted.namespace), find, readable)


def _check_readable(files: Sequence[DataFile], place: Place, owner: Credentials) -> None:
    """Read a byte of each file: who may list a source may not yet read it, nor then what was cut of it.

    A job's own credentials allow nothing that the owner's do not. Raises StoreError.
    """
    by_bucket: dict[str, list[str]] = {}
    for file in files:
        bucket, _, key = file.name.removeprefix("s3://").partition("/")
        by_bucket.setdefault(bucket, []).append(key)
    for bucket, found in by_bucket.items():
        with closing(_bucket(bucket, place, owner)) as store, ThreadPoolExecutor(READS_AT_ONCE) as readers:
            for _ in readers.map(lambda key: store.read(key, 0, 1), found):
                pass


def _has_too_many(source: str, place: Place, owner: Credentials, *, nested: bool) -> bool:
    """Whether a source has too many files; `nested`: those in folders within its folder count, too."""
    location = s3_location(source)
    if location is None:
        return False
    bucket, prefix, _ = location
    with closing(_bucket(bucket, place, owner)) as store:
        listed = store.list(f"{prefix}/", shallow=not nested)
        return sum(1 for _ in islice(listed, MOST_FILES + 1)) > MOST_FILES


def _bucket(name: str, place: Place, owner: Credentials) -> Store:
    """Another bucket of the same store."""
    return open_store(urlsplit(place.url)._replace(netloc=name).geturl(), owner)
