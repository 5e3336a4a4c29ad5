"""A job's use of the shared area that its data belongs in. Nothing here reads samples, or loads what does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sapflow.data import fingerprint
from sapflow.data.area import Area, area_of, belongs
from sapflow.data.data_file import DataFile
from sapflow.data.files import FindFiles
from sapflow.data.fingerprint import CutFiles
from sapflow.data.named_file import named_file
from sapflow.data.source_files import data_files, names_files, naming
from sapflow.errors import AlteredObject, ObjectMissing, StoreError, StoreUnavailable
from sapflow.objects import keys
from sapflow.objects.stores.credentials import CredentialSource
from sapflow.objects.stores.protocol import Store
from sapflow.records import shared_area
from sapflow.spec.sources import beside
from sapflow.spec.training_job import TrainingJob


@dataclass(frozen=True, slots=True)
class SharedData:
    """The area of a job's data, and the files of the source as they are now; None if its samples are in no files."""

    area: Area
    files: CutFiles | None


def finder(store_url: str, credentials: CredentialSource | None = None) -> FindFiles:
    """What finds the files of s3:// sources, in the endpoint of the store if they name none.

    Without `credentials` those of the environment are used.
    """

    def find(url: str, *, nested: bool = False) -> Sequence[DataFile]:
        from sapflow.data.remote import s3_files  # only this needs its client

        return s3_files(beside(url, store_url), credentials, nested=nested)

    return find


@naming("spec.data")
def area_for(
    job: TrainingJob,
    scope: str,
    find: FindFiles,
    check: Callable[[Sequence[DataFile]], None] | None = None,
) -> SharedData:
    """The area that the job's data belongs in. Local files are read once; of remote ones their names, sizes and ETags.

    `check` may refuse the files. Raises DataError, StoreError.
    """
    files = None
    if names_files(job.spec.data):
        found = data_files(job.spec.data, find)
        if check is not None:
            check(found)
        files = fingerprint.describe(found)
    prepare = job.spec.data.prepare
    named = [named_file(name, find) for name in (() if prepare is None else prepare.named_files)]
    cut = [] if files is None else list(files.files)
    return SharedData(area_of(job, [*cut, *fingerprint.describe(named).files], scope), files)


def may_share(store: Store, area: Area) -> bool:
    """Whether the store's credentials allow writing below shared/; they may be for jobs/ alone. Raises
    StoreUnavailable."""
    try:
        store.create(keys.area_record(area.digest), area.record, durable=True)
    except StoreUnavailable:
        raise
    except StoreError:
        return False
    return True


def use(store: Store, shared: SharedData, uid: str) -> None:
    """Make the job `uid` a user of the area, and write down what the area is for. Raises StoreError.

    It comes before any other use, and may be repeated.
    """
    digest = shared.area.digest
    shared_area.join(store, digest, uid)
    store.create(keys.area_record(digest), shared.area.record, durable=True)
    if shared.files is not None:
        prefix = keys.data(keys.area(digest))
        store.create(fingerprint.source_key(prefix), shared.files.encode(), durable=True)


def use_again(store: Store, digest: str, uid: str, job: TrainingJob, scope: str) -> bool:
    """Like `use`, for a job that has been given the area before: its source may have changed, or be gone.

    Returns whether the area says what it is for; otherwise nothing is known of it. Raises AlteredObject if it is not
    for what the job names, and StoreError.
    """
    shared_area.join(store, digest, uid)
    try:
        record = bytes(store.read(keys.area_record(digest)))
    except ObjectMissing:
        return False
    if not belongs(record, digest, job, scope):
        raise AlteredObject(
            f"{keys.area_record(digest)} in the store is not about the data of job {uid}: somebody else wrote it, or "
            "the job's record of its area was changed, and nothing of the area is used. Delete the job (in a local "
            "run: --again), find out who may write there, and begin it again"
        )
    return True


def is_cut(store: Store, digest: str) -> bool:
    """Whether the area has its data."""
    return store.exists(keys.manifest(keys.data(keys.area(digest))))
