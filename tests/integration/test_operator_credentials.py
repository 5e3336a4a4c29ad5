"""A job's credentials, on a real MinIO: what they open, what they do not, and their end."""

import json
import secrets
from collections.abc import Iterator

import pytest
from minio.credentials.providers import StaticProvider
from minio.minioadmin import MinioAdmin
from s3_servers import S3Service

from sapflow.data.remote import s3_files
from sapflow.errors import DataError, ObjectMissing, StoreError, StoreUnavailable
from sapflow.objects import keys
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store
from sapflow_operator.errors import CredentialsRefused
from sapflow_operator.store.credentials import Issued, Issuer
from sapflow_operator.wanted import Place

pytestmark = pytest.mark.s3
SECONDS = 900


def place(minio: S3Service, *, share: bool = False) -> Place:
    return Place(minio.endpoint, minio.bucket, "us-east-1", share=share)


def opened(minio: S3Service, credentials: Credentials) -> Store:
    return open_store(place(minio).url, credentials)


@pytest.fixture
def uid() -> str:
    return secrets.token_hex(8)


@pytest.fixture
def owner(minio: S3Service) -> Iterator[Store]:
    store = opened(minio, minio.credentials)
    yield store
    store.close()


@pytest.fixture
def service_account(minio: S3Service) -> Credentials:
    """Credentials that may not assume roles."""
    made = json.loads(admin(minio).add_service_account())["credentials"]
    return Credentials(made["accessKey"], made["secretKey"])


def admin(minio: S3Service) -> MinioAdmin:
    keys = minio.credentials
    return MinioAdmin(
        endpoint=minio.endpoint.removeprefix("http://"),
        credentials=StaticProvider(keys.access_key, keys.secret_key),
        secure=False,
    )


def test_a_user_gets_a_session_with_an_end_and_a_time_to_renew(minio: S3Service, uid: str) -> None:
    issued = Issuer(place(minio), minio.credentials).issue(uid, "sklearn:digits", SECONDS)
    assert issued.kind == "session"
    assert issued.credentials.session_token
    assert issued.expires is not None
    assert issued.renew is not None
    assert (issued.expires - issued.renew).total_seconds() == SECONDS / 2


def test_credentials_that_cannot_assume_roles_make_a_service_account(
    minio: S3Service, uid: str, service_account: Credentials
) -> None:
    issued = Issuer(place(minio), service_account).issue(uid, "sklearn:digits", SECONDS)
    assert issued.kind == "account"
    check_walls(minio, uid, issued)


def test_a_jobs_session_opens_its_own_prefix_alone(minio: S3Service, uid: str) -> None:
    check_walls(minio, uid, Issuer(place(minio), minio.credentials).issue(uid, "sklearn:digits", SECONDS))


def check_walls(minio: S3Service, uid: str, issued: Issued) -> None:
    """Everything that a driver and functions do works below jobs/<uid>/ and nothing does beside it."""
    other, owner = f"{uid}-b", opened(minio, minio.credentials)
    owner.create(keys.spec(keys.job(other)), b"B's")
    owner.create(f"free-{uid}/a", b"data")
    store = opened(minio, issued.credentials)
    assert store.create(keys.spec(keys.job(uid)), b"A's")
    assert not store.create(keys.spec(keys.job(uid)), b"again")
    assert bytes(store.read(keys.spec(keys.job(uid)))) == b"A's"
    assert not store.exists(keys.plan(keys.job(uid), "none"))
    with pytest.raises(ObjectMissing):
        store.read(keys.plan(keys.job(uid), "none"))
    store.delete([keys.spec(keys.job(uid))])
    for key in (keys.spec(keys.job(other)), f"free-{uid}/a"):
        with pytest.raises(StoreError):
            store.read(key)
        with pytest.raises(StoreError):
            store.create(f"{key}.new", b"")
    with pytest.raises(StoreError):
        store.delete([keys.spec(keys.job(other))])
    with pytest.raises(DataError):
        s3_files(f"s3://{minio.bucket}/jobs?endpoint={minio.endpoint}", issued.credentials)
    assert bytes(owner.read(keys.spec(keys.job(other)))) == b"B's"
    owner.close()
    store.close()


@pytest.mark.parametrize(
    "written",
    [
        "jobs/{other}",
        "jobs/{other}/spec.json",
        "jobs",
        "/jobs/{other}",
        "job*",
        "*",
        "jobs?x=/",
        "a/../jobs/{other}",
    ],
)
def test_naming_another_jobs_prefix_as_data_opens_nothing(
    minio: S3Service, owner: Store, uid: str, written: str
) -> None:
    other = f"{uid}-b"
    owner.create(keys.spec(keys.job(other)), b"B's")
    source = f"s3://{minio.bucket}/{written.format(other=other)}"
    issued = Issuer(place(minio), minio.credentials).issue(uid, source, SECONDS)
    store = opened(minio, issued.credentials)
    with pytest.raises(StoreError):
        store.read(keys.spec(keys.job(other)))
    for prefix in ("jobs", f"jobs/{other}"):
        with pytest.raises(DataError):
            s3_files(f"s3://{minio.bucket}/{prefix}?endpoint={minio.endpoint}", issued.credentials)
    store.close()


def test_the_data_that_a_job_names_may_be_listed_and_read_and_nothing_else(
    minio: S3Service, owner: Store, uid: str
) -> None:
    owner.create(f"data-{uid}/train.npz", b"rows")
    owner.create(f"data-{uid}2/train.npz", b"others")
    source = f"s3://{minio.bucket}/data-{uid}"
    issued = Issuer(place(minio), minio.credentials).issue(uid, source, SECONDS)
    for named in (source, f"{source}/", f"{source}/train.npz"):
        (file,) = s3_files(f"{named}?endpoint={minio.endpoint}", issued.credentials)
        with file.open() as stream:
            assert stream.read() == b"rows"
    store = opened(minio, issued.credentials)
    with pytest.raises(StoreError):
        store.create(f"data-{uid}/mine", b"")
    with pytest.raises(StoreError):
        store.read(f"data-{uid}2/train.npz")
    store.close()


def test_a_second_source_may_be_listed_and_read_like_the_first(
    minio: S3Service, owner: Store, uid: str
) -> None:
    for name in ("train", "held", "held2"):
        owner.create(f"{name}-{uid}/rows.csv", b"rows")
    first, second = (f"s3://{minio.bucket}/{name}-{uid}" for name in ("train", "held"))
    issued = Issuer(place(minio), minio.credentials).issue(uid, first, SECONDS, (), second)
    for named in (first, second):
        (file,) = s3_files(f"{named}?endpoint={minio.endpoint}", issued.credentials)
        with file.open() as stream:
            assert stream.read() == b"rows"
    with pytest.raises(DataError):
        s3_files(f"s3://{minio.bucket}/held2-{uid}?endpoint={minio.endpoint}", issued.credentials)
    store = opened(minio, issued.credentials)
    with pytest.raises(StoreError):
        store.create(f"held-{uid}/mine", b"")
    store.close()


@pytest.mark.parametrize("kind", ["session", "account"])
def test_revoked_credentials_open_nothing_and_others_still_do(
    minio: S3Service, uid: str, service_account: Credentials, kind: str
) -> None:
    issuer = Issuer(place(minio), minio.credentials if kind == "session" else service_account)
    first = issuer.issue(uid, "sklearn:digits", SECONDS)
    second = issuer.issue(uid, "sklearn:digits", SECONDS)
    neighbour = issuer.issue(f"{uid}-b", "sklearn:digits", SECONDS)
    both = [first.credentials.access_key, second.credentials.access_key]
    issuer.revoke(uid, first.kind, both)
    issuer.revoke(uid, first.kind, both)
    for issued in (first, second):
        store = opened(minio, issued.credentials)
        with pytest.raises(StoreError):
            store.create(keys.spec(keys.job(uid)), b"late")
        store.close()
    store = opened(minio, neighbour.credentials)
    assert store.create(keys.spec(keys.job(f"{uid}-b")), b"still here")
    store.close()


def test_renewed_credentials_work_beside_the_first(minio: S3Service, uid: str) -> None:
    issuer = Issuer(place(minio), minio.credentials)
    for number in range(2):
        store = opened(minio, issuer.issue(uid, "sklearn:digits", SECONDS).credentials)
        assert store.create(keys.plan(keys.job(uid), str(number)), b"{}")
        store.close()


def test_where_no_credentials_can_be_made_the_job_is_refused_unless_it_shares(
    minio: S3Service, uid: str
) -> None:
    wrong = Credentials("nobody", "0" * 32)
    with pytest.raises(CredentialsRefused, match="shareCredentials: true"):
        Issuer(place(minio), wrong).issue(uid, "sklearn:digits", SECONDS)
    issued = Issuer(place(minio, share=True), wrong).issue(uid, "sklearn:digits", SECONDS)
    assert (issued.kind, issued.credentials, issued.renew) == ("shared", wrong, None)


def test_a_store_that_does_not_answer_is_no_refusal(uid: str) -> None:
    nowhere = Place("http://127.0.0.1:9", "bucket", "us-east-1")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        Issuer(nowhere, Credentials("a", "b")).issue(uid, "sklearn:digits", SECONDS)


def test_a_source_lists_no_keys_that_only_begin_like_its_own(
    minio: S3Service, owner: Store, uid: str
) -> None:
    owner.create(keys.spec(keys.job(uid)), b"{}")
    source = f"s3://{minio.bucket}/{'/'.join(filter(None, (minio.prefix, 'j')))}"
    issued = Issuer(place(minio), minio.credentials).issue(f"{uid}-b", source, SECONDS)
    store = opened(minio, issued.credentials)
    for prefix in ("j", "jo", "jobs/"):
        with pytest.raises(StoreError):
            list(store.list(prefix))
    assert s3_files(f"{source}?endpoint={minio.endpoint}", issued.credentials) == []
    store.close()
