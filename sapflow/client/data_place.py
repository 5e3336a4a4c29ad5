"""Where the data of a local job or search lies: in a shared area, whose user it is then, or below its own prefix."""

from collections.abc import Callable

from sapflow.data import area, shared_data
from sapflow.data.chunks import Source
from sapflow.errors import DataError, StoreUnavailable
from sapflow.objects.stores.protocol import Store
from sapflow.records import shared_area
from sapflow.spec.training_job import TrainingJob


def settle(
    store: Store,
    uid: str,
    job: TrainingJob,
    *,
    before: str | None,
    apart: bool,
    started: Callable[[], bool],
    record: Callable[[str | None], object],
    record_key: str,
    source: Source | None = None,
) -> str | None:
    """The digest of the shared area that has the data of `job`, whose user `uid` is from now on; None: it has none.

    `before` is the area that an earlier run was given, and `apart` says that one keeps its data below its own prefix.
    What has `started` stays with what it was begun with. What has not moves on if its source has changed, and stays if
    that cannot be read any more. `record` writes down the place, under `record_key`. A `source` that a program hands
    over stays with its own job. Raises DataError, AlteredObject, StoreError.
    """

    def again(digest: str) -> str:
        """Use the area that was given before."""
        record(digest)
        shared_data.use_again(store, digest, uid, job, area.LOCAL)
        return digest

    if source is not None or apart or not area.shareable(job.spec.data):
        record(before)
        return before
    if before is not None and started():
        return again(before)
    try:
        wanted = shared_data.area_for(job, area.LOCAL, shared_data.finder(store.url))
    except (DataError, StoreUnavailable):
        if before is None or not shared_data.is_cut(store, before):
            raise
        return again(before)
    if before is None and not shared_data.may_share(store, wanted.area):
        record(None)
        return None
    if before is not None and before != wanted.area.digest:
        shared_area.leave(store, before, uid)
        store.delete([record_key])
    # In this order an area that has a user is known to that user.
    record(wanted.area.digest)
    shared_data.use(store, wanted, uid)
    return wanted.area.digest
