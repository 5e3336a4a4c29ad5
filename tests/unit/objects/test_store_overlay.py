"""A store over another one."""

from pathlib import Path

import pytest

from sapflow.errors import ObjectMissing, StoreError
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.directory import DirectoryStore
from sapflow.objects.stores.factory import credentials_for, open_store
from sapflow.objects.stores.overlay import OverlayStore, overlay_url, parts_of
from sapflow.objects.stores.s3 import S3Store


@pytest.fixture
def store(tmp_path: Path) -> OverlayStore:
    found = OverlayStore(DirectoryStore(str(tmp_path / "upper")), DirectoryStore(str(tmp_path / "lower")))
    found.lower.create("a/below", b"lower")
    found.lower.create("a/both", b"lower")
    return found


def test_what_is_written_hides_what_lies_below_and_changes_nothing_there(store: OverlayStore) -> None:
    assert store.create("a/both", b"upper"), "a key is free as long as only the lower store has it"
    assert not store.create("a/both", b"again")
    assert (bytes(store.read("a/both")), bytes(store.lower.read("a/both"))) == (b"upper", b"lower")
    with store.open("a/both") as reader:
        assert bytes(reader.next(5)) == b"upper"
    store.delete(["a/both", "a/below"])
    assert (bytes(store.read("a/both")), bytes(store.read("a/below", 1, 2))) == (b"lower", b"ow")


def test_both_are_listed_once(store: OverlayStore) -> None:
    store.create("a/both", b"upper")
    store.create("a/above", b"upper")
    assert [(each.key, each.size) for each in store.list("a/")] == [
        ("a/above", 5),
        ("a/below", 5),
        ("a/both", 5),
    ]
    assert store.exists("a/below")
    store.delete_prefix("a/")
    assert sorted(each.key for each in store.list("a/")) == ["a/below", "a/both"]
    with pytest.raises(ObjectMissing):
        store.read("a/above")


def test_a_function_opens_it_by_its_url(store: OverlayStore) -> None:
    store.create("a/both", b"upper")
    again = open_store(store.url)
    assert (bytes(again.read("a/both")), bytes(again.read("a/below"))) == (b"upper", b"lower")


def test_over_a_bucket_it_takes_the_buckets_credentials() -> None:
    below = "s3://bucket/prefix?endpoint=http://localhost:9000&region=us-east-1"
    url = overlay_url("file:///tmp/upper", below)
    assert parts_of(url) == ("file:///tmp/upper", below)
    environ = {"SAPFLOW_S3_ACCESS_KEY": "key", "SAPFLOW_S3_SECRET_KEY": "secret"}
    assert credentials_for(url, environ) == Credentials("key", "secret")
    found = open_store(url, credentials_for(url, environ))
    assert isinstance(found, OverlayStore)
    assert isinstance(found.lower, S3Store)
    assert found.remote
    with pytest.raises(StoreError, match="names two"):
        open_store("overlay:one")
