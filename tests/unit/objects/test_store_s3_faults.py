"""The S3 store against a server with one fault at a time: what is refused, repeated and resolved."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.certificates import self_signed
from s3_servers import FakeS3, free_port

from sapflow.errors import BucketMissing, ObjectMissing, StoreError, StoreUnavailable, StoreUnsafe
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store

LARGE = 17 << 20


@pytest.fixture
def fake() -> Iterator[FakeS3]:
    with FakeS3() as server:
        yield server


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds slept between tries; none is slept in fact."""
    slept: list[float] = []
    monkeypatch.setattr("sapflow.objects.stores.s3.time.sleep", slept.append)
    return slept


def test_a_probe_accepts_an_honest_store_and_removes_what_it_wrote(fake: FakeS3) -> None:
    store = fake.open()
    store.probe()
    assert fake.objects == {}
    written = {path for method, path, _ in fake.requests if method == "PUT"}
    assert len(written) == 6
    assert all(path.startswith("/bucket/.probe/") for path in written)
    store.close()


def test_a_probe_writes_only_below_the_prefix_that_a_job_may_write_to(fake: FakeS3) -> None:
    store = fake.open()
    store.probe("jobs/some-uid/")
    written = [path for method, path, _ in fake.requests if method == "PUT"]
    assert all(path.startswith("/bucket/jobs/some-uid/.probe/") for path in written)
    store.close()


@pytest.mark.parametrize("manner", ["ignores", "small only", "racing", "overwrites"])
def test_a_probe_refuses_a_store_that_lets_two_writers_win(manner: str) -> None:
    with FakeS3(manner) as fake:  # type: ignore[arg-type]
        store = fake.open()
        with pytest.raises(StoreUnsafe, match=f"{fake.endpoint}.*create-only writes"):
            store.probe()
        assert fake.objects == {}
        store.close()


def test_a_large_object_is_one_conditional_put_and_nothing_else(fake: FakeS3) -> None:
    store = fake.open()
    body = bytes(range(256)) * (LARGE // 256)
    assert store.create("key", [body[:100], body[100:]])
    ((method, path, headers),) = fake.requests
    assert (method, path) == ("PUT", "/bucket/key")
    assert headers["if-none-match"] == "*"
    assert headers["content-length"] == str(LARGE)
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert "expect" not in headers
    assert fake.objects["key"] == body
    store.close()


def test_requests_of_one_thread_share_one_connection(fake: FakeS3) -> None:
    store = fake.open()
    for turn in range(5):
        store.create(f"key-{turn}", b"x")
        store.create(f"key-{turn}", b"y")
        store.read(f"key-{turn}")
        assert not store.exists("nothing")
    assert fake.connections == 1
    store.close()


def test_a_refusal_before_the_body_is_sent_is_understood() -> None:
    with FakeS3("refuses early") as fake:
        fake.objects["key"] = b"first"
        store = fake.open()
        assert not store.create("key", bytes(LARGE))
        assert store.create("other", b"x")
        store.close()


def test_an_object_too_large_for_one_put_is_refused_before_anything_is_sent(fake: FakeS3) -> None:
    gigabyte = memoryview(bytearray(1 << 20))
    store = fake.open()
    with pytest.raises(StoreError, match=r"key.*5368709120.*more shards"):
        store.create("key", [gigabyte] * 5121)
    assert fake.requests == []
    store.close()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (503, "SlowDown"),
        (500, "InternalError"),
        (409, "ConditionalRequestConflict"),
        (499, "ClientDisconnected"),
        (400, "IncompleteBody"),
        (404, "NoSuchKey"),
        (429, ""),
        (502, ""),
    ],
)
def test_an_answer_to_try_again_for_is_tried_again_after_growing_pauses(
    fake: FakeS3, pauses: list[float], status: int, code: str
) -> None:
    fake.script += [(status, code)] * 3
    store = fake.open()
    assert store.create("key", b"content")
    assert fake.objects["key"] == b"content"
    assert len(pauses) == 3
    assert 0.05 <= pauses[0] <= 0.1 <= pauses[1] <= 0.2 <= pauses[2] <= 0.4
    store.close()


def test_tries_end_and_the_error_says_so_and_may_be_tried_again_later(
    fake: FakeS3, pauses: list[float]
) -> None:
    fake.script += [(503, "SlowDown")] * 100
    store = fake.open()
    with pytest.raises(StoreUnavailable, match="503 SlowDown") as caught:
        store.read("key")
    assert caught.value.retryable
    assert len(fake.requests) == 5
    assert len(pauses) == 4
    store.close()


def test_a_conflict_that_does_not_end_is_resolved_by_reading(fake: FakeS3, pauses: list[float]) -> None:
    store = fake.open()
    fake.objects["key"] = b"another's"
    fake.script += [(409, "ConditionalRequestConflict")] * 5
    assert not store.create("key", b"content")
    store.close()


def test_an_error_after_the_object_was_stored_counts_as_ours(fake: FakeS3, pauses: list[float]) -> None:
    store = fake.open()
    fake.objects["key"] = b"content"
    fake.script.append((500, "InternalError"))
    assert store.create("key", [b"con", b"tent"])
    fake.script.append((500, "InternalError"))
    assert not store.create("key", b"other content of another length")
    fake.script.append((500, "InternalError"))
    assert not store.create("key", b"CONTENT")
    store.close()


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (404, "NoSuchBucket", BucketMissing, "bucket 'bucket' does not exist at http://.*make it"),
        (404, "NoSuchKey", ObjectMissing, "some/key"),
        (403, "AccessDenied", StoreUnsafe, "some/key.*may not do that.*SAPFLOW_S3_ACCESS_KEY"),
        (403, "InvalidAccessKeyId", StoreUnsafe, "does not know the access key.*SAPFLOW_S3_ACCESS_KEY"),
        (403, "SignatureDoesNotMatch", StoreUnsafe, "secret key.*SAPFLOW_S3_SECRET_KEY"),
        (400, "ExpiredToken", StoreUnsafe, "has expired"),
        (403, "RequestTimeTooSkewed", StoreUnsafe, "clock"),
        (507, "XMinioStorageFull", StoreError, "disk full"),
        (301, "PermanentRedirect", StoreError, "region 'us-east-1' is wrong"),
        (400, "AuthorizationHeaderMalformed", StoreError, "region 'us-east-1' is wrong"),
        (405, "", StoreError, "not as S3 does"),
        (400, "InvalidThing", StoreError, "400 InvalidThing: as the test wants it"),
    ],
)
def test_an_error_says_what_is_wrong_where_and_what_to_do_and_is_not_repeated(
    fake: FakeS3, status: int, code: str, kind: type[StoreError], words: str
) -> None:
    fake.script.append((status, code))
    store = fake.open()
    with pytest.raises(StoreError, match=words) as caught:
        store.read("some/key")
    assert type(caught.value) is kind
    assert not caught.value.retryable
    assert caught.value.reason == ("AccessDenied" if kind is StoreUnsafe else kind.reason)
    assert len(fake.requests) == 1
    store.close()


def test_a_delete_that_the_store_refuses_is_an_error(fake: FakeS3) -> None:
    fake.undeletable.add("a/kept & safe")
    store = fake.open()
    with pytest.raises(StoreUnsafe, match=r"a/kept & safe.*AccessDenied"):
        store.delete(["a/other", "a/kept & safe"])
    store.close()


def test_an_endpoint_where_nobody_listens_is_named(pauses: list[float]) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    store = open_store(f"s3://bucket?endpoint={endpoint}", Credentials("key", "secret"))
    for use in (store.probe, lambda: store.read("key"), lambda: store.create("key", b"")):
        with pytest.raises(StoreUnavailable, match=f"{endpoint} gave no answer.*check that the address"):
            use()


def test_a_store_that_ends_its_idle_connections_is_asked_on_a_new_one(fake: FakeS3) -> None:
    store = fake.open()
    store.create("key", b"x")
    fake.hang_up()
    assert bytes(store.read("key")) == b"x"
    assert fake.connections == 2
    store.close()


def test_a_server_that_lives_on_without_its_disk_is_not_believed(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old connections lead to it, new ones to the server in its place."""
    monkeypatch.setattr("sapflow.objects.stores.connections._TRUSTED_SECONDS", 0.0)
    store = fake.open()
    assert store.create("key", b"body")
    fake.without_disk = fake.connections
    assert bytes(store.read("key")) == b"body"
    fake.without_disk = fake.connections
    assert store.exists("key")
    fake.without_disk = fake.connections
    assert store.create("other", b"x")
    assert not store.exists("nothing")
    store.close()


def test_what_a_connection_says_that_was_opened_just_now_is_asked_for_once(fake: FakeS3) -> None:
    store = fake.open()
    assert not store.exists("nothing")
    assert not store.exists("nothing")
    assert (len(fake.requests), fake.connections) == (2, 1)
    store.close()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path)


def test_objects_of_any_size_travel_over_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with FakeS3(tls=context) as fake:
        store = fake.open()
        body = bytes(range(256)) * (LARGE // 256)
        assert store.create("large", [b"head", body])
        assert not store.create("large", body)
        assert bytes(store.read("large")) == b"head" + body
        assert fake.connections == 1
        store.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path, pauses: list[float]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FakeS3(tls=context) as fake:
        store = fake.open()
        with pytest.raises(StoreError, match=r"certificate verify failed"):
            store.read("key")
        assert fake.requests == []


def test_a_listing_holds_one_page_and_asks_for_the_next_when_it_is_wanted(
    fake: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sapflow.objects.stores.s3._BATCH", 2)
    fake.objects.update({f"data/{index}": b"123" for index in range(5)})
    store = fake.open()
    listing = store.list("data/")
    assert fake.requests == []
    assert [next(listing)[:2] for _ in range(2)] == [("data/0", 3), ("data/1", 3)]
    assert len(fake.requests) == 1
    assert [each.key for each in listing] == ["data/2", "data/3", "data/4"]
    assert len(fake.requests) == 3
    fake.objects.update({"data/4/x": b"", "data/4/y": b""})
    assert [each.key for each in store.list("data/", shallow=True)][-2:] == ["data/4", "data/4/"]
    store.delete_prefix("data/")
    assert fake.objects == {}
    store.close()


def test_a_bucket_that_is_not_there_is_told_from_one_that_is_empty(fake: FakeS3) -> None:
    store = fake.open()
    assert list(store.list("")) == []
    fake.script.append((404, "NoSuchBucket"))
    with pytest.raises(BucketMissing, match="bucket 'bucket' does not exist"):
        list(store.list(""))
    store.close()


def test_an_answer_that_is_no_listing_is_named(fake: FakeS3) -> None:
    store = fake.open()
    fake.objects[""] = b"<html>some other server"
    with pytest.raises(StoreError, match="not as S3 does"):
        store.delete_prefix("jobs/")
    store.close()


class Renewable:
    """Credentials that are renewed once."""

    def __init__(self, *, renewed: bool) -> None:
        self.renewed = renewed
        self._keys = Credentials("old", "secret", "token")

    def current(self) -> Credentials:
        return self._keys

    def newer_than(self, refused: Credentials) -> bool:
        if self.renewed:
            self._keys = Credentials("new", "secret", "token")
        return self._keys != refused


def test_a_head_that_aws_answers_with_400_and_no_body_is_explained_by_a_get(fake: FakeS3) -> None:
    fake.script.extend([(400, ""), (400, "ExpiredToken")])
    store = fake.open()
    with pytest.raises(StoreUnsafe, match="HEAD: ExpiredToken: the session token has expired"):
        store.exists("key")
    assert [method for method, _, _ in fake.requests] == ["HEAD", "GET"]
    store.close()


def test_an_expired_token_is_renewed_also_where_a_head_tells_of_it(fake: FakeS3) -> None:
    fake.objects["key"] = b"x"
    fake.script.extend([(400, ""), (400, "ExpiredToken")])
    store = open_store(f"s3://bucket?endpoint={fake.endpoint}", Renewable(renewed=True))
    assert store.exists("key")
    store.close()
    fake.script.extend([(400, ""), (400, "ExpiredToken")])
    store = open_store(f"s3://bucket?endpoint={fake.endpoint}", Renewable(renewed=False))
    with pytest.raises(StoreUnsafe, match="expired"):
        store.exists("key")
    store.close()


def test_a_head_that_is_refused_where_a_get_is_not_is_tried_again(fake: FakeS3, pauses: list[float]) -> None:
    fake.objects["key"] = b"x"
    fake.script.append((400, ""))
    store = fake.open()
    assert store.exists("key")
    assert len(pauses) == 1
    store.close()
