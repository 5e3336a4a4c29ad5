"""The S3 store on a real server: the contract, lost answers, and credentials of one job."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from helpers.memory import peak_bytes
from minio import Minio
from minio.credentials.providers import AssumeRoleProvider
from s3_servers import CuttingProxy, S3Service
from store_contract import StoreContract

from sapflow.errors import ObjectMissing, StoreError, StoreUnavailable, StoreUnsafe
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store
from sapflow.objects.stores.protocol import Store

pytestmark = pytest.mark.s3

CONTENT = bytes(range(256)) * 4096


def administration(service: S3Service) -> Minio:
    scheme, _, address = service.endpoint.partition("://")
    keys = service.credentials
    return Minio(
        address,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        session_token=keys.session_token,
        secure=scheme == "https",
    )


class TestS3Store(StoreContract):
    @pytest.fixture
    def store(self, s3_store: Store) -> Store:
        return s3_store

    @pytest.fixture(autouse=True)
    def _service(self, minio: S3Service) -> None:
        self.service = minio

    def left(self, store: Store) -> list[str]:
        prefix = re.sub(r"s3://[^/]+/(.*)\?.*", r"\1/", store.url)
        found = administration(self.service).list_objects(self.service.bucket, prefix, recursive=True)
        return [str(item.object_name) for item in found]


@pytest.fixture
def proxy(minio: S3Service) -> Iterator[CuttingProxy]:
    with CuttingProxy(minio.endpoint) as cutter:
        yield cutter


@pytest.fixture
def proxied(minio: S3Service, s3_store: Store, proxy: CuttingProxy) -> Iterator[Store]:
    """The store of `s3_store`, spoken to through `proxy`."""
    store = open_store(s3_store.url.replace(minio.endpoint, proxy.endpoint), minio.credentials)
    yield store
    store.close()


def methods(proxy: CuttingProxy) -> list[str]:
    return [line.partition(" ")[0] for line in proxy.lines]


@pytest.mark.parametrize("size", [100, 200_000, 17 << 20])
def test_every_object_is_one_put_whatever_its_size(proxied: Store, proxy: CuttingProxy, size: int) -> None:
    assert proxied.create("key", [b"head", bytes(size)])
    assert methods(proxy) == ["PUT"]
    assert "uploads" not in proxy.lines[0]
    assert not proxied.create("key", bytes(size))
    assert len(proxied.read("key")) == size + 4


def test_an_answer_lost_after_the_object_was_stored_is_resolved_to_ours(
    proxied: Store, proxy: CuttingProxy
) -> None:
    proxy.cut_answer()
    assert proxied.create("key", [CONTENT, b"end"])
    assert methods(proxy) == ["PUT", "PUT", "GET"]
    assert bytes(proxied.read("key")) == CONTENT + b"end"


def test_a_request_lost_on_the_way_is_sent_again(proxied: Store, proxy: CuttingProxy) -> None:
    proxy.cut_request()
    assert proxied.create("key", CONTENT)
    assert bytes(proxied.read("key")) == CONTENT


@pytest.mark.parametrize("others", [b"other", bytes(len(CONTENT)), CONTENT[:-1] + b"x"])
def test_a_lost_request_whose_key_another_writer_took_is_resolved_to_theirs(
    s3_store: Store, proxied: Store, proxy: CuttingProxy, others: bytes
) -> None:
    assert s3_store.create("key", others)
    proxy.cut_request()
    assert not proxied.create("key", CONTENT)
    assert bytes(s3_store.read("key")) == others


def test_an_answer_lost_to_a_loser_stays_lost(s3_store: Store, proxied: Store, proxy: CuttingProxy) -> None:
    s3_store.create("key", b"theirs")
    proxy.cut_answer()
    assert not proxied.create("key", b"ours")


@pytest.mark.parametrize("after", [1, 400, 300_000, 900_000])
def test_a_read_goes_on_where_the_connection_broke(proxied: Store, proxy: CuttingProxy, after: int) -> None:
    proxied.create("key", CONTENT)
    proxy.cut_answer(after)
    assert bytes(proxied.read("key")) == CONTENT
    proxy.cut_answer(after)
    with proxied.open("key") as reader:
        pieces = [bytes(reader.next(1 << 16)) for _ in range(len(CONTENT) >> 16)]
    assert b"".join(pieces) == CONTENT
    proxy.cut_answer(after)
    assert bytes(proxied.read("key", 1000, 1_000_000)) == CONTENT[1000:1_001_000]
    assert methods(proxy) == ["PUT", *["GET"] * 6]


def test_a_delete_whose_answer_is_lost_is_repeated(proxied: Store, proxy: CuttingProxy) -> None:
    proxied.create("a", b"")
    proxied.create("b", b"")
    proxy.cut_answer()
    proxied.delete(["a", "b"])
    assert not proxied.exists("a")
    assert not proxied.exists("b")


def test_delete_prefix_goes_through_all_pages_of_a_listing(
    s3_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sapflow.objects.stores.s3._BATCH", 3)
    keys = [f"jobs/a/{index}" for index in range(10)]
    for key in [*keys, "jobs/b"]:
        s3_store.create(key, b"")
    s3_store.delete_prefix("jobs/a/")
    assert not any(map(s3_store.exists, keys))
    assert s3_store.exists("jobs/b")


@pytest.mark.parametrize("after", [0, 500])
def test_a_listing_whose_answer_breaks_off_is_asked_for_again(
    proxied: Store, proxy: CuttingProxy, after: int
) -> None:
    keys = [f"jobs/a/{index}" for index in range(5)]
    for key in keys:
        proxied.create(key, b"")
    proxy.lines.clear()
    proxy.cut_answer(after)
    assert [each.key for each in proxied.list("jobs/")] == keys
    assert methods(proxy) == ["GET", "GET"]


def test_a_server_that_went_away_is_unavailable(
    proxied: Store, proxy: CuttingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sapflow.objects.stores.s3.time.sleep", lambda seconds: None)
    proxied.create("key", b"x")
    proxy.stop()
    with pytest.raises(StoreUnavailable, match=f"{proxy.endpoint} gave no answer"):
        proxied.read("key")


def test_a_missing_bucket_is_named(minio: S3Service) -> None:
    store = open_store(minio.url(bucket="no-such-bucket-here"), minio.credentials)
    for use in (lambda: store.create("key", b""), lambda: store.read("key"), store.probe):
        with pytest.raises(StoreError, match="bucket 'no-such-bucket-here' does not exist"):
            use()
    store.close()


@pytest.mark.parametrize(
    ("access", "words"),
    [(None, "SignatureDoesNotMatch: the secret key"), ("nobody", "does not know the access key")],
)
def test_wrong_credentials_are_named(minio: S3Service, access: str | None, words: str) -> None:
    keys = Credentials(access or minio.credentials.access_key, "not-the-secret-key")
    store = open_store(minio.url(), keys)
    with pytest.raises(StoreUnsafe, match=words) as caught:
        store.probe()
    assert caught.value.reason == "AccessDenied"
    assert "not-the-secret-key" not in str(caught.value)
    store.close()


def test_a_session_of_one_job_can_work_in_its_own_prefix_and_nowhere_else(minio: S3Service) -> None:
    everything = f"arn:aws:s3:::{minio.bucket}"
    own = "/".join(part for part in (minio.prefix, "jobs/own/") if part)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
                "Resource": f"{everything}/{own}*",
            },
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": everything,
                "Condition": {"StringLike": {"s3:prefix": f"{own}*"}},
            },
        ],
    }
    keys = AssumeRoleProvider(
        sts_endpoint=minio.endpoint,
        access_key=minio.credentials.access_key,
        secret_key=minio.credentials.secret_key,
        policy=json.dumps(policy),
        region="us-east-1",
    ).retrieve()
    store = open_store(minio.url(), Credentials(keys.access_key, keys.secret_key, keys.session_token))
    store.probe("jobs/own/")
    assert store.create("jobs/own/spec.json", b"x")
    assert not store.create("jobs/own/spec.json", b"y")
    assert bytes(store.read("jobs/own/spec.json")) == b"x"
    assert not store.exists("jobs/own/nothing")
    with pytest.raises(ObjectMissing):
        store.read("jobs/own/nothing")
    store.delete(["jobs/own/spec.json", "jobs/own/nothing"])
    store.delete_prefix("jobs/own/")
    for refused in (
        lambda: store.create("jobs/other/spec.json", b""),
        lambda: store.read("jobs/other/spec.json"),
        lambda: store.delete(["jobs/other/spec.json"]),
        lambda: store.delete_prefix("jobs/other/"),
        store.probe,
    ):
        with pytest.raises(StoreUnsafe, match="AccessDenied") as caught:
            refused()
        assert caught.value.reason == "AccessDenied"
    store.close()


def test_a_reader_keeps_one_buffer_whatever_the_size_of_the_object(s3_store: Store) -> None:
    s3_store.create("key", bytes(8 << 20))
    with s3_store.open("key") as reader:
        pieces = [reader.next(1 << 20) for _ in range(8)]
    assert all(first.obj is second.obj for first, second in pairwise(pieces))


def test_no_copy_of_an_object_is_made_on_its_way(s3_store: Store) -> None:
    source, target = bytearray(32 << 20), bytearray(32 << 20)

    def there_and_back() -> None:
        s3_store.delete(["key"])
        s3_store.create("key", [memoryview(source)[:100], memoryview(source)[100:]])
        with s3_store.open("key") as reader:
            reader.readinto(memoryview(target))

    assert peak_bytes(there_and_back, enough=1 << 20) < 1 << 20
