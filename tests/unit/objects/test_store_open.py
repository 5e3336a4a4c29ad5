"""Opening a store: URLs, credentials, and what is imported for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from sapflow.errors import StoreError
from sapflow.objects.stores.credentials import Credentials
from sapflow.objects.stores.factory import open_store

KEYS = Credentials("some-access", "some-secret")
S3 = "s3://bucket/pre/fix?endpoint=http://127.0.0.1:9000"


def test_a_path_and_a_file_url_open_the_same_directory(tmp_path: Path) -> None:
    root = tmp_path / "with space"
    assert open_store(str(root)).create("key", b"x")
    assert bytes(open_store(f"file://{tmp_path}/with%20space").read("key")) == b"x"
    assert open_store(open_store(str(root)).url).exists("key")
    assert not open_store(str(root)).remote


def test_a_relative_path_is_taken_from_here_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("here")
    monkeypatch.chdir("/")
    store.create("key", b"x")
    assert (tmp_path / "here" / "key").exists()


def test_an_s3_url_opens_without_asking_the_store(tmp_path: Path) -> None:
    store = open_store(S3, KEYS)
    assert store.remote
    assert store.url == "s3://bucket/pre/fix?endpoint=http://127.0.0.1:9000&region=us-east-1"
    assert open_store(store.url, KEYS).url == store.url


def test_an_s3_url_without_endpoint_means_aws() -> None:
    store = open_store("s3://bucket?region=eu-west-1", KEYS)
    assert store.url == "s3://bucket/?endpoint=https://s3.eu-west-1.amazonaws.com&region=eu-west-1"


@pytest.mark.parametrize(
    "url", ["", "ftp://host/path", "file://host/path", "file://", "gs://bucket", "with\0zero"]
)
def test_a_url_of_no_store_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(StoreError, match=r"is no store: use a directory, file:///path, or s3://"):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://access:secret@bucket?endpoint=http://127.0.0.1:9000",
        "s3://?endpoint=http://127.0.0.1:9000",
        "s3://bucket?endpoint=http://127.0.0.1:9000&access_key=a",
        "s3://bucket?endpoint=http://127.0.0.1:9000#fragment",
    ],
)
def test_an_s3_url_with_anything_else_is_refused_without_showing_a_secret(url: str) -> None:
    with pytest.raises(StoreError, match="nothing but endpoint and region") as caught:
        open_store(url, KEYS)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:9000", "ftp://host", "http://", "http://host:99999", "http://host/path"]
)
def test_an_endpoint_that_is_no_server_is_refused(endpoint: str) -> None:
    with pytest.raises(StoreError, match="is no address of a server"):
        open_store(f"s3://bucket?endpoint={endpoint}", KEYS)


def test_s3_without_credentials_says_which_variables_to_set() -> None:
    with pytest.raises(StoreError, match=r"set SAPFLOW_S3_ACCESS_KEY, SAPFLOW_S3_SECRET_KEY"):
        open_store(S3)


def test_credentials_come_from_our_variables_before_those_of_aws() -> None:
    aws = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    ours = {"SAPFLOW_S3_ACCESS_KEY": "d", "SAPFLOW_S3_SECRET_KEY": "e"}
    assert Credentials.from_environment({}) is None
    assert Credentials.from_environment(aws) == Credentials("a", "b", "c")
    assert Credentials.from_environment({**aws, **ours}) == Credentials("d", "e", None)
    assert Credentials.from_environment({**ours, "SAPFLOW_S3_SESSION_TOKEN": "f"}) == Credentials(
        "d", "e", "f"
    )


def test_half_a_pair_of_credentials_is_refused_with_the_name_of_the_other_half() -> None:
    with pytest.raises(StoreError, match="SAPFLOW_S3_SECRET_KEY is not set"):
        Credentials.from_environment({"SAPFLOW_S3_ACCESS_KEY": "a", "AWS_SECRET_ACCESS_KEY": "b"})


def test_credentials_do_not_show_their_secrets() -> None:
    assert "secret" not in repr(Credentials("access", "secret-key", "secret-token"))


def test_a_process_with_a_directory_store_loads_no_http_client(tmp_path: Path) -> None:
    program = (
        "import sys; from sapflow.objects.stores.factory import open_store\n"
        "store = open_store(sys.argv[1]); store.create('a', b'x')\n"
        "store.read('a'); print([name for name in ('http.client', 'ssl', 'minio', 'torch') if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize("name", ["x", "ab", "a" * 64])
def test_a_bucket_whose_name_is_too_short_or_too_long_is_told_so(name: str) -> None:
    with pytest.raises(StoreError, match="the name of a bucket has 3 to 63"):
        open_store(f"s3://{name}/prefix?endpoint=http://127.0.0.1:1", Credentials("a", "b"))
